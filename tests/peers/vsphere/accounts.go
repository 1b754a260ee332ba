package main

import (
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// account is who may log in. Without a list of privileges it may do everything.
type account struct {
	Password   string    `json:"password"`
	Expired    bool      `json:"expired"`
	Privileges *[]string `json:"privileges"`
}

func (a *account) may(privilege string) bool {
	if a.Privileges == nil || strings.HasPrefix(privilege, "System.") {
		return true
	}
	for _, each := range *a.Privileges {
		if each == privilege {
			return true
		}
	}
	return false
}

// needed is the privilege that each method asks for: "Required Privileges" of the vSphere Web Services
// API reference. Methods that are not here need System.View or System.Read, which everybody has.
func needed(method *simulator.Method) string {
	switch call := method.Body.(type) {
	case *types.CreateVM_Task:
		return "VirtualMachine.Inventory.Create"
	case *types.ImportVApp:
		return "VApp.Import"
	case *types.CloneVM_Task:
		if machine := machineOf(method.This); machine != nil && machine.Config.Template {
			return "VirtualMachine.Provisioning.DeployTemplate"
		}
		return "VirtualMachine.Provisioning.Clone"
	case *types.MarkAsTemplate:
		return "VirtualMachine.Provisioning.MarkAsTemplate"
	case *types.MarkAsVirtualMachine:
		return "VirtualMachine.Provisioning.MarkAsVM"
	case *types.ReconfigVM_Task:
		switch {
		case len(call.Spec.ExtraConfig) != 0:
			return "VirtualMachine.Config.AdvancedConfig"
		case len(call.Spec.DeviceChange) != 0:
			return "VirtualMachine.Config.EditDevice"
		case call.Spec.Annotation != "":
			return "VirtualMachine.Config.Annotation"
		case call.Spec.Name != "":
			return "VirtualMachine.Config.Rename"
		}
		return "VirtualMachine.Config.Settings"
	case *types.Rename_Task:
		if method.This.Type == "VirtualMachine" {
			return "VirtualMachine.Config.Rename"
		}
		return "Folder.Rename"
	case *types.Destroy_Task:
		if method.This.Type == "VirtualMachine" {
			return "VirtualMachine.Inventory.Delete"
		}
		return "Folder.Delete"
	case *types.UnregisterVM:
		return "VirtualMachine.Inventory.Unregister"
	case *types.MoveIntoFolder_Task:
		return "VirtualMachine.Inventory.Move"
	case *types.CreateFolder:
		return "Folder.Create"
	case *types.PowerOnVM_Task:
		return "VirtualMachine.Interact.PowerOn"
	case *types.PowerOffVM_Task, *types.ShutdownGuest:
		return "VirtualMachine.Interact.PowerOff"
	case *types.ResetVM_Task:
		return "VirtualMachine.Interact.Reset"
	case *types.CreateSnapshot_Task:
		return "VirtualMachine.State.CreateSnapshot"
	case *types.AddCustomFieldDef, *types.RemoveCustomFieldDef, *types.RenameCustomFieldDef:
		return "Global.ManageCustomFields"
	case *types.SetField, *types.SetCustomValue:
		return "Global.SetCustomField"
	}
	return ""
}

// authorise refuses what the session's user may not do, and answers what it may. The lock is held.
func (f *front) authorise(session string, method *simulator.Method) *answer {
	if login, ok := method.Body.(*types.Login); ok {
		user, known := f.users[login.UserName]
		switch {
		case !known || user.Password != login.Password:
			return fault("Cannot complete login due to an incorrect user name or password.",
				&types.InvalidLogin{})
		case user.Expired:
			return fault("The password of the account has expired.", &types.PasswordExpired{})
		}
		return nil
	}
	user, known := f.users[f.sessions[session]]
	if !known {
		return nil // the simulator refuses what needs a session
	}
	if privilege := needed(method); privilege != "" && !user.may(privilege) {
		return fault("Permission to perform this operation was denied.",
			&types.NoPermission{Object: method.This, PrivilegeId: privilege})
	}
	return f.privileges(method)
}

// privileges answers the questions about them, which the simulator answers with yes.
func (f *front) privileges(method *simulator.Method) *answer {
	on := func(name string, entities []types.ManagedObjectReference, asked []string) []types.EntityPrivilege {
		var all []types.EntityPrivilege
		for _, entity := range entities {
			one := types.EntityPrivilege{Entity: entity}
			for _, privilege := range asked {
				one.PrivAvailability = append(one.PrivAvailability, types.PrivilegeAvailability{
					PrivId: privilege, IsGranted: f.granted(name, privilege),
				})
			}
			all = append(all, one)
		}
		return all
	}
	switch call := method.Body.(type) {
	case *types.HasPrivilegeOnEntities:
		return result(&types.HasPrivilegeOnEntitiesResponse{
			Returnval: on(f.sessions[call.SessionId], call.Entity, call.PrivId),
		})
	case *types.HasPrivilegeOnEntity:
		var granted []bool
		for _, privilege := range call.PrivId {
			granted = append(granted, f.granted(f.sessions[call.SessionId], privilege))
		}
		return result(&types.HasPrivilegeOnEntityResponse{Returnval: granted})
	case *types.HasUserPrivilegeOnEntities:
		return result(&types.HasUserPrivilegeOnEntitiesResponse{
			Returnval: on(call.UserName, call.Entities, call.PrivId),
		})
	case *types.FetchUserPrivilegeOnEntities:
		user, known := f.users[call.UserName]
		if !known || user.Privileges == nil {
			return nil // the simulator's: all of them
		}
		var all []types.UserPrivilegeResult
		for _, entity := range call.Entities {
			held := append([]string{"System.Anonymous", "System.Read", "System.View"}, *user.Privileges...)
			all = append(all, types.UserPrivilegeResult{Entity: entity, Privileges: held})
		}
		return result(&types.FetchUserPrivilegeOnEntitiesResponse{Returnval: all})
	}
	return nil
}

func (f *front) granted(name, privilege string) bool {
	user, known := f.users[name]
	return known && user.may(privilege)
}
