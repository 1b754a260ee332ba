package main

import (
	"bytes"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// Machines that the vCenter has lost sight of. The simulator knows the states, and treats such a
// machine like any other.

// lost: of these a vCenter has no configuration ("no configuration can be returned for a virtual
// machine": VirtualMachineConnectionState), and can do nothing with them but take them off the
// inventory.
func lost(machine *simulator.VirtualMachine) bool {
	switch machine.Runtime.ConnectionState {
	case types.VirtualMachineConnectionStateInaccessible,
		types.VirtualMachineConnectionStateInvalid,
		types.VirtualMachineConnectionStateOrphaned:
		return true
	}
	return false
}

// unusable refuses what cannot be done with a machine in its connection state. Reading, custom
// fields and UnregisterVM work in all of them.
func (f *front) unusable(method *simulator.Method) *answer {
	machine := machineOf(method.This)
	if machine == nil {
		return nil
	}
	switch method.Body.(type) {
	case *types.Destroy_Task, *types.PowerOnVM_Task, *types.PowerOffVM_Task, *types.SuspendVM_Task,
		*types.ReconfigVM_Task, *types.CloneVM_Task:
	case *types.UnregisterVM:
		if machine.Runtime.ConnectionState == types.VirtualMachineConnectionStateDisconnected {
			return fault("The host is not connected.", &types.HostNotConnected{})
		}
		return nil
	default:
		return nil
	}
	switch {
	case machine.Runtime.ConnectionState == types.VirtualMachineConnectionStateDisconnected:
		return fault("The host is not connected.", &types.HostNotConnected{})
	case lost(machine):
		return f.failedTask(method.Name, &types.InvalidState{})
	}
	return nil
}

// hideLost takes the configuration of lost machines out of an answer with properties.
func hideLost(given *answer) *answer {
	if !bytes.Contains(given.body, []byte(machineStart)) {
		return given
	}
	var body bytes.Buffer
	rest, changed := given.body, false
	for _, object := range splitObjects(given.body) {
		value := machineIn(object)
		if value == "" {
			continue
		}
		machine := machineOf(types.ManagedObjectReference{Type: "VirtualMachine", Value: value})
		if machine == nil || !lost(machine) {
			continue
		}
		at := bytes.Index(rest, object)
		body.Write(rest[:at])
		body.Write(withoutConfig(object))
		rest, changed = rest[at+len(object):], true
	}
	if !changed {
		return given
	}
	body.Write(rest)
	return &answer{given.status, given.header, body.Bytes()}
}

// machineIn is the machine that an <objects> element is about, or "".
func machineIn(object []byte) string {
	start := bytes.Index(object, []byte(machineStart))
	if start < 0 {
		return ""
	}
	rest := object[start+len(machineStart):]
	return string(rest[:bytes.IndexByte(rest, '<')])
}

const machineStart = `<obj type="VirtualMachine">`

// withoutConfig leaves out each property whose path begins with "config".
func withoutConfig(object []byte) []byte {
	var kept bytes.Buffer
	start, end := []byte("<propSet><name>config"), []byte("</propSet>")
	for {
		at := bytes.Index(object, start)
		if at < 0 {
			kept.Write(object)
			return kept.Bytes()
		}
		kept.Write(object[:at])
		object = object[at+bytes.Index(object[at:], end)+len(end):]
	}
}
