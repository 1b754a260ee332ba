package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sort"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// What the tests that started this vCenter may do, and no client: see what is there, and change it
// behind everybody's back. JSON in and out; 400 and a text where it cannot be done.
func (f *front) control() http.Handler {
	mux := http.NewServeMux()
	handle := func(path string, do func(*json.Decoder) (interface{}, error)) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			f.mu.Lock()
			defer f.mu.Unlock()
			given, err := do(json.NewDecoder(r.Body))
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			must(json.NewEncoder(w).Encode(given))
		})
	}
	// The rules from now on: a list; none without.
	handle("/rules", func(in *json.Decoder) (interface{}, error) {
		var rules []*rule
		if err := in.Decode(&rules); err != nil {
			return nil, err
		}
		for _, each := range rules {
			if err := each.check(); err != nil {
				return nil, err
			}
		}
		f.rules = rules
		return len(rules), nil
	})
	// Calls by method so far.
	handle("/counts", func(*json.Decoder) (interface{}, error) { return f.counts, nil })
	// How many of them asked how tasks are getting on.
	handle("/waits", func(*json.Decoder) (interface{}, error) { return f.waits, nil })
	// Those that are named are changed; all are returned.
	handle("/settings", func(in *json.Decoder) (interface{}, error) {
		changed := f.settings
		if err := in.Decode(&changed); err != nil {
			return nil, err
		}
		f.settings = changed
		return changed, nil
	})
	// Accounts by name: added or replaced.
	handle("/accounts", func(in *json.Decoder) (interface{}, error) {
		var accounts map[string]*account
		if err := in.Decode(&accounts); err != nil {
			return nil, err
		}
		for name, each := range accounts {
			f.users[name] = each
		}
		return len(accounts), nil
	})
	handle("/end-sessions", f.endSessions)
	handle("/machines", func(*json.Decoder) (interface{}, error) { return f.machines(), nil })
	handle("/fill", f.fill)
	handle("/change", f.change)
	return mux
}

// endSessions: every session is over at once. Imports under way are given up where {"leases": "abort"}
// says so; else they stay, and what was made of them.
func (f *front) endSessions(in *json.Decoder) (interface{}, error) {
	var asked struct {
		Leases string `json:"leases"`
	}
	if err := in.Decode(&asked); err != nil {
		return nil, err
	}
	ended := len(f.sessions)
	f.sessions = make(map[string]string)
	f.pages = make(map[string]*pages)
	for reference := range f.leases {
		if asked.Leases == "abort" {
			f.abort(reference)
		}
		delete(f.leases, reference)
	}
	return ended, nil
}

type machine struct {
	Reference       string            `json:"reference"`
	Name            string            `json:"name"`
	Datacenter      string            `json:"datacenter"`
	Folder          string            `json:"folder"`
	Template        bool              `json:"template"`
	InstanceUUID    string            `json:"instance_uuid"`
	Annotation      string            `json:"annotation"`
	Custom          map[string]string `json:"custom"`
	ExtraConfig     map[string]string `json:"extra_config"`
	PowerState      string            `json:"power_state"`
	ConnectionState string            `json:"connection_state"`
	CPUReservation  int64             `json:"cpu_reservation"`
	Disks           []int64           `json:"disks"` // their capacities in KiB
	Uploads         []*upload         `json:"uploads"`
}

// machines describes all of them, in the order of their making.
func (f *front) machines() []machine {
	all := simulator.Map.All("VirtualMachine")
	sort.Slice(all, func(i, j int) bool { return number(all[i].Reference()) < number(all[j].Reference()) })
	fields := make(map[int32]string)
	for _, field := range simulator.Map.CustomFieldsManager().Field {
		fields[field.Key] = field.Name
	}
	described := make([]machine, 0, len(all))
	for _, entity := range all {
		vm := entity.(*simulator.VirtualMachine)
		one := machine{
			Reference:       vm.Self.Value,
			Name:            vm.Name,
			Folder:          nameOf(*vm.Parent),
			Template:        vm.Config.Template,
			InstanceUUID:    vm.Config.InstanceUuid,
			Annotation:      vm.Config.Annotation,
			Custom:          make(map[string]string),
			ExtraConfig:     make(map[string]string),
			PowerState:      string(vm.Runtime.PowerState),
			ConnectionState: string(vm.Runtime.ConnectionState),
			Uploads:         f.uploads[vm.Self],
		}
		if datacenter := datacenterOf(vm.Self); datacenter != nil {
			one.Datacenter = datacenter.Name
		}
		if allocation := vm.Config.CpuAllocation; allocation != nil && allocation.Reservation != nil {
			one.CPUReservation = *allocation.Reservation
		}
		for _, value := range vm.CustomValue {
			if text, ok := value.(*types.CustomFieldStringValue); ok {
				one.Custom[fields[text.Key]] = text.Value
			}
		}
		for _, option := range vm.Config.ExtraConfig {
			one.ExtraConfig[option.GetOptionValue().Key] = fmt.Sprint(option.GetOptionValue().Value)
		}
		for _, disk := range disksOf(vm) {
			one.Disks = append(one.Disks, disk.CapacityInKB)
		}
		described = append(described, one)
	}
	return described
}

// fill makes many machines at once. In texts, "{n}" is a machine's number, from 0, "{uuid}" its instance
// UUID, and "{reference}" its reference. Created is when the first was made, and Step how much later
// each next one, in seconds. Bare ones, without a disk and a network card, take a quarter of the time.
func (f *front) fill(in *json.Decoder) (interface{}, error) {
	var asked struct {
		Count      int               `json:"count"`
		Datacenter string            `json:"datacenter"`
		Folder     string            `json:"folder"`
		Name       string            `json:"name"`
		Template   bool              `json:"template"`
		Bare       bool              `json:"bare"`
		Annotation string            `json:"annotation"`
		Custom     map[string]string `json:"custom"`
		Created    float64           `json:"created"`
		Step       float64           `json:"step"`
		states
	}
	if err := in.Decode(&asked); err != nil {
		return nil, err
	}
	finder := find.NewFinder(f.client)
	datacenter, err := finder.Datacenter(background, asked.Datacenter)
	if err != nil {
		return nil, err
	}
	finder.SetDatacenter(datacenter)
	folder, err := finder.Folder(background, asked.Folder)
	if err != nil {
		return nil, err
	}
	pool, err := finder.DefaultResourcePool(background)
	if err != nil {
		return nil, err
	}
	datastore, err := finder.DefaultDatastore(background)
	if err != nil {
		return nil, err
	}
	network, err := finder.Network(background, asked.Datacenter+"_DVPG0")
	if err != nil {
		return nil, err
	}
	backing, err := network.EthernetCardBackingInfo(background)
	if err != nil {
		return nil, err
	}
	for n := 0; n < asked.Count; n++ {
		var devices []types.BaseVirtualDeviceConfigSpec
		if !asked.Bare {
			if devices, err = hardware(backing); err != nil {
				return nil, err
			}
		}
		id := uuid.New().String()
		reference := ""
		say := func(text string) string {
			return strings.NewReplacer(
				"{n}", fmt.Sprint(n), "{uuid}", id, "{reference}", reference).Replace(text)
		}
		task, err := folder.CreateVM(background, types.VirtualMachineConfigSpec{
			Name:         say(asked.Name),
			GuestId:      string(types.VirtualMachineGuestOsIdentifierOtherGuest),
			InstanceUuid: id,
			DeviceChange: devices,
			Files:        &types.VirtualMachineFileInfo{VmPathName: "[" + datastore.Name() + "]"},
		}, pool, nil)
		if err != nil {
			return nil, err
		}
		info, err := task.WaitForResult(background, nil)
		if err != nil {
			return nil, err
		}
		made := machineOf(info.Result.(types.ManagedObjectReference))
		reference = made.Self.Value
		made.Config.Annotation = say(asked.Annotation)
		if asked.Created != 0 {
			created := time.Unix(0, int64((asked.Created+float64(n)*asked.Step)*1e9)).UTC()
			made.Config.CreateDate = &created
		}
		if err := f.setCustom(made, asked.Custom, say); err != nil {
			return nil, err
		}
		if asked.Template {
			if err := object.NewVirtualMachine(f.client, made.Self).MarkAsTemplate(background); err != nil {
				return nil, err
			}
		}
		asked.states.give(made)
	}
	return asked.Count, nil
}

// hardware: a disk of a mebibyte and a network card.
func hardware(network types.BaseVirtualDeviceBackingInfo) ([]types.BaseVirtualDeviceConfigSpec, error) {
	var devices object.VirtualDeviceList
	controller, err := devices.CreateSCSIController("pvscsi")
	if err != nil {
		return nil, err
	}
	devices = append(devices, controller)
	disk := devices.CreateDisk(controller.(types.BaseVirtualController), types.ManagedObjectReference{}, "")
	disk.CapacityInKB = 1024
	card, err := devices.CreateEthernetCard("vmxnet3", network)
	if err != nil {
		return nil, err
	}
	return append(devices, disk, card).ConfigSpec(types.VirtualDeviceConfigSpecOperationAdd)
}

// states that a machine is given, whatever it does; those that are nil stay.
type states struct {
	ConnectionState *types.VirtualMachineConnectionState `json:"connection_state"`
	PowerState      *types.VirtualMachinePowerState      `json:"power_state"`
}

func (s *states) give(vm *simulator.VirtualMachine) {
	if s.ConnectionState != nil {
		vm.Runtime.ConnectionState = *s.ConnectionState
		vm.Summary.Runtime.ConnectionState = *s.ConnectionState
	}
	if s.PowerState != nil {
		vm.Runtime.PowerState, vm.Summary.Runtime.PowerState = *s.PowerState, *s.PowerState
	}
}

// change alters every machine of that name, templates too, which no client could.
func (f *front) change(in *json.Decoder) (interface{}, error) {
	var asked struct {
		Name       string            `json:"name"`
		Destroy    bool              `json:"destroy"`
		Annotation *string           `json:"annotation"`
		Custom     map[string]string `json:"custom"`
		Disk       *int64            `json:"disk"` // the capacity of each, in KiB
		states
	}
	if err := in.Decode(&asked); err != nil {
		return nil, err
	}
	changed := 0
	for _, entity := range simulator.Map.All("VirtualMachine") {
		vm := entity.(*simulator.VirtualMachine)
		if vm.Name != asked.Name {
			continue
		}
		changed++
		if asked.Destroy {
			f.destroy(vm.Self)
			continue
		}
		if asked.Annotation != nil {
			vm.Config.Annotation = *asked.Annotation
		}
		if err := f.setCustom(vm, asked.Custom, func(text string) string { return text }); err != nil {
			return nil, err
		}
		asked.states.give(vm)
		if asked.Disk != nil {
			for _, disk := range disksOf(vm) {
				disk.CapacityInKB, disk.CapacityInBytes = *asked.Disk, *asked.Disk*1024
			}
		}
	}
	if changed == 0 {
		return nil, fmt.Errorf("no machine has the name %q", asked.Name)
	}
	return changed, nil
}

// setCustom sets custom fields, and makes those that are not there yet.
func (f *front) setCustom(
	vm *simulator.VirtualMachine, values map[string]string, say func(string) string,
) error {
	for name, value := range values {
		key, err := f.fieldKey(name)
		if err != nil {
			return err
		}
		one := &types.CustomFieldStringValue{
			CustomFieldValue: types.CustomFieldValue{Key: key}, Value: say(value),
		}
		vm.CustomValue, vm.Value = append(vm.CustomValue, one), append(vm.Value, one)
	}
	onlyLast(vm.Self)
	return nil
}

func (f *front) fieldKey(name string) (int32, error) {
	for _, field := range simulator.Map.CustomFieldsManager().Field {
		if field.Name == name {
			return field.Key, nil
		}
	}
	made, err := methods.AddCustomFieldDef(background, f.client, &types.AddCustomFieldDef{
		This: *f.client.ServiceContent.CustomFieldsManager, Name: name, MoType: "VirtualMachine",
	})
	if err != nil {
		return 0, err
	}
	return made.Returnval.Key, nil
}

// number is what the simulator has numbered the object with: "vm-57".
func number(reference types.ManagedObjectReference) int {
	var n int
	_, _ = fmt.Sscanf(reference.Value[strings.LastIndexByte(reference.Value, '-')+1:], "%d", &n)
	return n
}
