package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net/http"
	"path"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// The import of disks. The simulator throws them away, takes broken ones, and keeps the machine when
// its import is given up.

// lease is an import that is under way.
type lease struct {
	session string
	machine types.ManagedObjectReference
}

// upload is a disk that came in.
type upload struct {
	Name     string `json:"name"`
	Bytes    int64  `json:"bytes"`
	Sha256   string `json:"sha256"`
	Complete bool   `json:"complete"`
	Problem  string `json:"problem,omitempty"`
}

func (f *front) openLease(session string, call *types.ImportVApp, given *answer) {
	folder := call.Folder
	if folder == nil {
		folder = vmFolderOf(call.This)
	}
	spec := call.Spec.(*types.VirtualMachineImportSpec).ConfigSpec
	made := child(*folder, spec.Name, types.ManagedObjectReference{})
	identify(machineOf(*made), spec.Uuid, spec.InstanceUuid)
	f.leases[returned(given, "HttpNfcLease")] = &lease{session, *made}
}

// receive takes a disk. Nobody logs in for that: the address is the secret.
func (f *front) receive(r *http.Request) *answer {
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/nfc/"), "/")
	if len(parts) != 2 {
		return &answer{http.StatusNotFound, http.Header{}, nil}
	}
	reference := types.ManagedObjectReference{Type: "HttpNfcLease", Value: parts[0]}
	f.mu.Lock()
	known := f.leases[reference]
	var disk *types.VirtualDisk
	if known != nil {
		disk = diskOf(machineOf(known.machine), parts[1])
	}
	f.mu.Unlock()
	if disk == nil {
		return &answer{http.StatusNotFound, http.Header{}, nil}
	}
	if r.Method != http.MethodPut && r.Method != http.MethodPost {
		return &answer{http.StatusNotImplemented, http.Header{}, []byte("not modelled: " + r.Method)}
	}

	hash, head := sha256.New(), &prefix{}
	size, err := io.Copy(io.MultiWriter(hash, head), r.Body)
	came := &upload{Name: parts[1], Bytes: size, Sha256: hex.EncodeToString(hash.Sum(nil))}
	if err != nil {
		came.Problem = err.Error()
	} else {
		came.Problem = streamOptimized(head.bytes, disk.CapacityInKB)
	}
	came.Complete = came.Problem == ""

	f.mu.Lock()
	defer f.mu.Unlock()
	kept := f.uploads[known.machine][:0]
	for _, each := range f.uploads[known.machine] {
		if each.Name != came.Name {
			kept = append(kept, each)
		}
	}
	f.uploads[known.machine] = append(kept, came)
	if !came.Complete {
		return &answer{http.StatusInternalServerError, http.Header{}, []byte(came.Problem)}
	}
	return &answer{http.StatusOK, http.Header{}, nil}
}

// prefix keeps the first sector.
type prefix struct{ bytes []byte }

func (p *prefix) Write(more []byte) (int, error) {
	if missing := 512 - len(p.bytes); missing > 0 {
		if missing > len(more) {
			missing = len(more)
		}
		p.bytes = append(p.bytes, more[:missing]...)
	}
	return len(more), nil
}

// streamOptimized says what is wrong with the header of such a disk: SparseExtentHeader of "Virtual Disk
// Format 5.0" (VMware), magic, flags (16: compressed, 17: markers) and capacity in sectors.
func streamOptimized(header []byte, kilobytes int64) string {
	if len(header) < 512 || string(header[:4]) != "KDMV" {
		return "not a sparse VMDK"
	}
	if binary.LittleEndian.Uint32(header[8:])>>16&3 != 3 {
		return "not a streamOptimized VMDK"
	}
	if int64(binary.LittleEndian.Uint64(header[12:])) != kilobytes*2 {
		return "the disk's capacity is not what the descriptor says"
	}
	return ""
}

// incomplete refuses to complete an import of which disks are missing.
func (f *front) incomplete(reference types.ManagedObjectReference) *answer {
	known := f.leases[reference]
	if known == nil {
		return nil // the simulator's: no such lease
	}
	complete := make(map[string]bool)
	for _, each := range f.uploads[known.machine] {
		complete[each.Name] = each.Complete
	}
	for _, name := range diskNames(machineOf(known.machine)) {
		if !complete[name] {
			return fault("The disk '"+name+"' was not received.", &types.InvalidState{})
		}
	}
	return nil
}

// abort gives an import up: what was made of it goes away.
func (f *front) abort(reference types.ManagedObjectReference) {
	known := f.leases[reference]
	if known == nil {
		return
	}
	delete(f.leases, reference)
	delete(f.uploads, known.machine)
	f.destroy(known.machine)
}

func (f *front) destroy(reference types.ManagedObjectReference) {
	_, err := methods.Destroy_Task(background, f.client, &types.Destroy_Task{This: reference})
	must(err)
}

func diskOf(machine *simulator.VirtualMachine, name string) *types.VirtualDisk {
	if machine == nil {
		return nil
	}
	for _, disk := range disksOf(machine) {
		if diskName(disk) == name {
			return disk
		}
	}
	return nil
}

func diskNames(machine *simulator.VirtualMachine) []string {
	var names []string
	if machine != nil {
		for _, disk := range disksOf(machine) {
			names = append(names, diskName(disk))
		}
	}
	return names
}

func disksOf(machine *simulator.VirtualMachine) []*types.VirtualDisk {
	var disks []*types.VirtualDisk
	for _, device := range machine.Config.Hardware.Device {
		if disk, ok := device.(*types.VirtualDisk); ok {
			disks = append(disks, disk)
		}
	}
	return disks
}

func diskName(disk *types.VirtualDisk) string {
	backing, ok := disk.Backing.(types.BaseVirtualDeviceFileBackingInfo)
	if !ok {
		return ""
	}
	var file object.DatastorePath
	file.FromString(backing.GetVirtualDeviceFileBackingInfo().FileName)
	return path.Base(file.Path)
}
