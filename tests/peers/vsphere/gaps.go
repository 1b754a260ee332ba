package main

import (
	"bytes"
	"log"
	"net/http"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"
)

// Where the simulator is more lenient than a vCenter, or does less.

// before answers in place of the simulator, or returns nil. The lock is held.
func (f *front) before(session string, method *simulator.Method) *answer {
	switch call := method.Body.(type) {
	case *types.CurrentTime:
		return result(&types.CurrentTimeResponse{Returnval: now(f.settings.ClockSkew).UTC()})
	case *types.ContinueRetrievePropertiesEx:
		return f.nextPage(session, call.Token)
	case *types.CancelRetrievePropertiesEx:
		delete(f.pages, call.Token)
		return result(&types.CancelRetrievePropertiesExResponse{})
	case *types.HttpNfcLeaseComplete:
		if problem := f.incomplete(call.This); problem != nil {
			return problem
		}
	}
	if session == "" {
		return nil
	}
	if answer := f.unreachable(method); answer != nil {
		return answer
	}
	if answer := f.unusable(method); answer != nil {
		return answer
	}
	return f.nameTaken(method)
}

// nameTaken: names are unique in a folder. The simulator takes a second one.
func (f *front) nameTaken(method *simulator.Method) *answer {
	var folder *types.ManagedObjectReference
	var name string
	var self types.ManagedObjectReference
	switch call := method.Body.(type) {
	case *types.CreateVM_Task:
		folder, name = &call.This, call.Config.Name
	case *types.CloneVM_Task:
		folder, name = &call.Folder, call.Name
	case *types.ImportVApp:
		spec, ok := call.Spec.(*types.VirtualMachineImportSpec)
		if !ok {
			return nil
		}
		name, folder = spec.ConfigSpec.Name, call.Folder
		if folder == nil {
			folder = vmFolderOf(call.This)
		}
	case *types.Rename_Task:
		self, name = call.This, call.NewName
		folder = parentOf(call.This)
	case *types.ReconfigVM_Task:
		self, name = call.This, call.Spec.Name
		folder = parentOf(call.This)
	case *types.MoveIntoFolder_Task:
		for _, each := range call.List {
			if taken := child(call.This, nameOf(each), each); taken != nil {
				return f.failedTask(method.Name, duplicate(nameOf(each), *taken))
			}
		}
		return nil
	}
	if folder == nil || name == "" {
		return nil
	}
	taken := child(*folder, name, self)
	if taken == nil {
		return nil
	}
	if method.Name == "ImportVApp" {
		return fault("The name '"+name+"' already exists.", duplicate(name, *taken))
	}
	return f.failedTask(method.Name, duplicate(name, *taken))
}

func duplicate(name string, object types.ManagedObjectReference) *types.DuplicateName {
	return &types.DuplicateName{Name: name, Object: object}
}

// prepare keeps what the call would damage, and returns how to put it back afterwards.
func (f *front) prepare(method *simulator.Method) func() {
	if _, ok := method.Body.(*types.CloneVM_Task); ok {
		// The simulator gives a clone the very devices of its source, and empties their file names.
		if source := machineOf(method.This); source != nil {
			kept := copyDevices(source.Config.Hardware.Device)
			return func() { source.Config.Hardware.Device = kept }
		}
	}
	return func() {}
}

// after changes what the simulator did, and its answer. The lock is held.
func (f *front) after(session string, method *simulator.Method, given *answer) *answer {
	if given.status != http.StatusOK {
		if method.Name == "Fetch" && !isFault(given) {
			// The simulator panics where a property is not set. A vCenter answers with nothing.
			return xmlAnswer(http.StatusOK, []byte(
				envelope+`<FetchResponse xmlns="`+namespace+`"></FetchResponse>`+envelopeEnd))
		}
		return given
	}
	switch call := method.Body.(type) {
	case *types.Login:
		for _, cookie := range (&http.Response{Header: given.header}).Cookies() {
			f.sessions[cookie.Value] = call.UserName
		}
	case *types.Logout:
		delete(f.sessions, session)
	case *types.RetrievePropertiesEx:
		return f.firstPage(session, call, f.hideUnreachable(hideLost(given)))
	case *types.CreateVM_Task:
		if machine := taskMachine(given); machine != nil {
			identify(machine, call.Config.Uuid, call.Config.InstanceUuid)
		}
	case *types.CloneVM_Task:
		if clone := taskMachine(given); clone != nil {
			f.finishClone(machineOf(call.This), clone, &call.Spec)
		}
	case *types.PowerOnVM_Task:
		f.showGuest(machineOf(call.This))
	case *types.PowerOffVM_Task, *types.ShutdownGuest:
		hideGuest(machineOf(method.This))
	case *types.SetField:
		onlyLast(call.Entity)
	case *types.SetCustomValue:
		onlyLast(call.This)
	case *types.ImportVApp:
		f.openLease(session, call, given)
	case *types.HttpNfcLeaseComplete:
		delete(f.leases, call.This)
	case *types.HttpNfcLeaseAbort:
		f.abort(call.This)
	}
	return given
}

func isFault(given *answer) bool {
	return bytes.Contains(given.body, []byte("<soapenv:Fault>"))
}

// identify: the simulator derives a machine's UUIDs from its path, so that two machines of one name in
// two datacenters, or one after the other, would have the same.
func identify(machine *simulator.VirtualMachine, bios, instance string) {
	if bios == "" {
		bios = uuid.New().String()
	}
	if instance == "" {
		instance = uuid.New().String()
	}
	machine.Config.Uuid, machine.Summary.Config.Uuid = bios, bios
	machine.Config.InstanceUuid, machine.Summary.Config.InstanceUuid = instance, instance
}

// finishClone: a clone has its source's annotation, configuration and custom values, but for what the
// call says otherwise; and it is switched on where the call says so.
func (f *front) finishClone(source, clone *simulator.VirtualMachine, spec *types.VirtualMachineCloneSpec) {
	config := spec.Config
	if config == nil {
		config = &types.VirtualMachineConfigSpec{}
	}
	identify(clone, config.Uuid, config.InstanceUuid)
	clone.Config.Hardware.Device = copyDevices(clone.Config.Hardware.Device)
	clone.Config.Annotation = source.Config.Annotation
	clone.Config.Firmware = source.Config.Firmware
	clone.Config.CpuAllocation = source.Config.CpuAllocation
	clone.Config.MemoryAllocation = source.Config.MemoryAllocation
	if config.Annotation != "" {
		clone.Config.Annotation = config.Annotation
	}
	said := make(map[string]bool)
	for _, option := range clone.Config.ExtraConfig {
		said[option.GetOptionValue().Key] = true
	}
	for _, option := range source.Config.ExtraConfig {
		if !said[option.GetOptionValue().Key] {
			clone.Config.ExtraConfig = append(clone.Config.ExtraConfig, option)
		}
	}
	clone.CustomValue = append([]types.BaseCustomFieldValue(nil), source.CustomValue...)
	clone.Value = append([]types.BaseCustomFieldValue(nil), source.Value...)
	if config.NumCPUs != 0 {
		clone.Config.Hardware.NumCPU, clone.Summary.Config.NumCpu = config.NumCPUs, config.NumCPUs
	}
	if config.MemoryMB != 0 {
		clone.Config.Hardware.MemoryMB = int32(config.MemoryMB)
		clone.Summary.Config.MemorySizeMB = int32(config.MemoryMB)
	}
	if config.CpuAllocation != nil {
		clone.Config.CpuAllocation = config.CpuAllocation
	}
	if config.MemoryAllocation != nil {
		clone.Config.MemoryAllocation = config.MemoryAllocation
	}
	f.uploads[clone.Self] = f.uploads[source.Self]
	if spec.PowerOn && !spec.Template {
		_, err := methods.PowerOnVM_Task(background, f.client, &types.PowerOnVM_Task{This: clone.Self})
		must(err)
		f.showGuest(clone)
	}
}

// showGuest: a machine that runs has an address, as VMware Tools report it.
func (f *front) showGuest(machine *simulator.VirtualMachine) {
	if machine == nil || machine.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOn ||
		f.settings.GuestIP == "" {
		return
	}
	address := f.settings.GuestIP
	nic := types.GuestNicInfo{
		Network:        "VM Network",
		IpAddress:      []string{address},
		MacAddress:     "00:0c:29:00:00:01",
		Connected:      true,
		DeviceConfigId: 4000,
		IpConfig: &types.NetIpConfigInfo{IpAddress: []types.NetIpConfigInfoIpAddress{{
			IpAddress: address, PrefixLength: 8, State: "preferred",
		}}},
	}
	for _, device := range object.VirtualDeviceList(machine.Config.Hardware.Device).
		SelectByType((*types.VirtualEthernetCard)(nil)) {
		card := device.(types.BaseVirtualEthernetCard).GetVirtualEthernetCard()
		nic.DeviceConfigId = card.Key
		if card.MacAddress != "" {
			nic.MacAddress = card.MacAddress
		}
	}
	running := string(types.VirtualMachineToolsRunningStatusGuestToolsRunning)
	simulator.Map.Update(machine, []types.PropertyChange{
		{Name: "guest.ipAddress", Val: address},
		{Name: "guest.net", Val: []types.GuestNicInfo{nic}},
		{Name: "guest.guestState", Val: "running"},
		{Name: "guest.toolsRunningStatus", Val: running},
		{Name: "guest.toolsStatus", Val: types.VirtualMachineToolsStatusToolsOk},
		{Name: "summary.guest.ipAddress", Val: address},
		{Name: "summary.guest.toolsStatus", Val: types.VirtualMachineToolsStatusToolsOk},
	})
}

func hideGuest(machine *simulator.VirtualMachine) {
	if machine == nil || machine.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn {
		return
	}
	machine.Guest = &types.GuestInfo{
		ToolsStatus:        types.VirtualMachineToolsStatusToolsNotRunning,
		ToolsRunningStatus: string(types.VirtualMachineToolsRunningStatusGuestToolsNotRunning),
		GuestState:         "notRunning",
	}
	machine.Summary.Guest = &types.VirtualMachineGuestSummary{ToolsStatus: machine.Guest.ToolsStatus}
}

// onlyLast: a custom field has one value. The simulator keeps all that were ever set.
func onlyLast(reference types.ManagedObjectReference) {
	entity, ok := simulator.Map.Get(reference).(mo.Entity)
	if !ok {
		return
	}
	last := func(values []types.BaseCustomFieldValue) []types.BaseCustomFieldValue {
		var kept []types.BaseCustomFieldValue
		at := make(map[int32]int)
		for _, value := range values {
			key := value.GetCustomFieldValue().Key
			if position, seen := at[key]; seen {
				kept[position] = value
				continue
			}
			at[key] = len(kept)
			kept = append(kept, value)
		}
		return kept
	}
	entity.Entity().CustomValue = last(entity.Entity().CustomValue)
	entity.Entity().Value = last(entity.Entity().Value)
}

func copyDevices(devices []types.BaseVirtualDevice) []types.BaseVirtualDevice {
	var text bytes.Buffer
	must(xml.NewEncoder(&text).Encode(&types.ArrayOfVirtualDevice{VirtualDevice: devices}))
	decoder := xml.NewDecoder(&text)
	decoder.TypeFunc = types.TypeFunc()
	var copied types.ArrayOfVirtualDevice
	must(decoder.Decode(&copied))
	return copied.VirtualDevice
}

// taskMachine is the machine that a task has made.
func taskMachine(given *answer) *simulator.VirtualMachine {
	task, ok := simulator.Map.Get(returned(given, "Task")).(*simulator.Task)
	if !ok {
		return nil
	}
	reference, ok := task.Info.Result.(types.ManagedObjectReference)
	if !ok {
		return nil
	}
	return machineOf(reference)
}

// returned is the reference that a call has returned.
func returned(given *answer, kind string) types.ManagedObjectReference {
	var value string
	decoder := xml.NewDecoder(bytes.NewReader(given.body))
	for {
		token, err := decoder.Token()
		if err != nil {
			return types.ManagedObjectReference{}
		}
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "returnval" {
			if err := decoder.DecodeElement(&value, &start); err != nil {
				log.Printf("cannot read what was returned: %s", err)
			}
			return types.ManagedObjectReference{Type: kind, Value: value}
		}
	}
}

func machineOf(reference types.ManagedObjectReference) *simulator.VirtualMachine {
	machine, _ := simulator.Map.Get(reference).(*simulator.VirtualMachine)
	return machine
}

func parentOf(reference types.ManagedObjectReference) *types.ManagedObjectReference {
	entity, ok := simulator.Map.Get(reference).(mo.Entity)
	if !ok {
		return nil
	}
	return entity.Entity().Parent
}

func nameOf(reference types.ManagedObjectReference) string {
	entity, ok := simulator.Map.Get(reference).(mo.Entity)
	if !ok {
		return ""
	}
	return entity.Entity().Name
}

// datacenterOf is the one that it belongs to, or is.
func datacenterOf(reference types.ManagedObjectReference) *simulator.Datacenter {
	for at := &reference; at != nil; at = parentOf(*at) {
		if datacenter, ok := simulator.Map.Get(*at).(*simulator.Datacenter); ok {
			return datacenter
		}
	}
	return nil
}

func vmFolderOf(reference types.ManagedObjectReference) *types.ManagedObjectReference {
	if datacenter := datacenterOf(reference); datacenter != nil {
		return &datacenter.VmFolder
	}
	return nil
}

// child is what has that name in the folder, but for the one that asks.
func child(
	folder types.ManagedObjectReference, name string, self types.ManagedObjectReference,
) *types.ManagedObjectReference {
	parent, ok := simulator.Map.Get(folder).(*simulator.Folder)
	if !ok {
		return nil
	}
	for _, each := range parent.ChildEntity {
		if each != self && nameOf(each) == name {
			found := each
			return &found
		}
	}
	return nil
}
