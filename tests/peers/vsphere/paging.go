package main

import (
	"bytes"
	"fmt"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// A vCenter returns as many objects at once as the client asks for, and no more than it likes itself;
// the others follow by a token. The simulator returns all at once. Which objects there are is settled
// when the first page is read.

type pages struct {
	session string
	objects [][]byte
	size    int
}

var (
	objectStart = []byte("<objects>")
	objectEnd   = []byte("</objects>")
)

func (f *front) firstPage(session string, call *types.RetrievePropertiesEx, given *answer) *answer {
	size := f.settings.PageLimit
	if asked := call.Options.MaxObjects; asked != 0 && int(asked) < size {
		size = int(asked)
	}
	objects := splitObjects(given.body)
	if len(objects) <= size {
		return given
	}
	return f.page("RetrievePropertiesExResponse", &pages{session, objects, size})
}

func (f *front) nextPage(session, token string) *answer {
	rest, known := f.pages[token]
	if !known || rest.session != session {
		return fault("The token is not known.", &types.InvalidProperty{Name: "token"})
	}
	delete(f.pages, token)
	return f.page("ContinueRetrievePropertiesExResponse", rest)
}

func (f *front) page(response string, rest *pages) *answer {
	var body bytes.Buffer
	fmt.Fprintf(&body, `%s<%s xmlns="%s"><returnval>`, envelope, response, namespace)
	shown := rest.objects
	if len(shown) > rest.size {
		shown = shown[:rest.size]
		token := uuid.New().String()
		fmt.Fprintf(&body, "<token>%s</token>", token)
		f.pages[token] = &pages{rest.session, rest.objects[rest.size:], rest.size}
	}
	for _, object := range shown {
		body.Write(object)
	}
	fmt.Fprintf(&body, "</returnval></%s>%s", response, envelopeEnd)
	return xmlAnswer(200, body.Bytes())
}

func splitObjects(body []byte) [][]byte {
	var objects [][]byte
	for {
		start := bytes.Index(body, objectStart)
		if start < 0 {
			return objects
		}
		end := start + bytes.Index(body[start:], objectEnd) + len(objectEnd)
		objects = append(objects, body[start:end])
		body = body[end:]
	}
}

// unreachable: a datacenter that cannot be reached can be listed, and nothing in it can be changed.
func (f *front) unreachable(method *simulator.Method) *answer {
	if needed(method) == "" {
		return nil
	}
	concerned := []types.ManagedObjectReference{method.This}
	switch call := method.Body.(type) {
	case *types.CloneVM_Task:
		concerned = append(concerned, call.Folder)
	case *types.SetField:
		concerned = append(concerned, call.Entity)
	}
	for _, each := range concerned {
		if f.cannotReach(each) {
			return fault("Unable to communicate with the remote host, since it is disconnected.",
				&types.HostNotConnected{})
		}
	}
	return nil
}

func (f *front) cannotReach(reference types.ManagedObjectReference) bool {
	datacenter := datacenterOf(reference)
	if datacenter == nil {
		return false
	}
	for _, name := range f.settings.Unreachable {
		if datacenter.Name == name {
			return true
		}
	}
	return false
}

// hideUnreachable: of machines that cannot be reached, a vCenter says so in place of their properties.
func (f *front) hideUnreachable(given *answer) *answer {
	if len(f.settings.Unreachable) == 0 {
		return given
	}
	missing := []byte(`<missingSet><path>config</path><fault><fault xsi:type="HostNotConnected"></fault>` +
		`<localizedMessage>The host is not connected.</localizedMessage></fault></missingSet>`)
	body := given.body
	for _, object := range splitObjects(given.body) {
		value := machineIn(object)
		if value == "" || !f.cannotReach(
			types.ManagedObjectReference{Type: "VirtualMachine", Value: value}) {
			continue
		}
		hidden := append([]byte("<objects>"+machineStart+value+"</obj>"), missing...)
		body = bytes.Replace(body, object, append(hidden, objectEnd...), 1)
	}
	return &answer{given.status, given.header, body}
}
