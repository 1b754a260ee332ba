// A vCenter for tests: VMware's own simulator, with a front that mends where the simulator is more
// lenient than a vCenter, and that can be told to fail.
//
// It listens on 127.0.0.1 only: for clients over TLS, and for the tests that started it on a plain
// port of its own (control.go). Both addresses are printed as one line of JSON. It ends, and removes
// what it wrote, when its standard input ends: with whoever started it, however that ended.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/simulator"
	_ "github.com/vmware/govmomi/vapi/simulator" // tags and content libraries, over REST
	"github.com/vmware/govmomi/vim25"
)

// The folder that every datacenter has for templates.
const folderName = "images"

func main() {
	datacenters := flag.Int("datacenters", 2, "how many, named DC0, DC1, ...")
	user := flag.String("user", "imagectl@vsphere.local", "who may do everything")
	password := flag.String("password", "secret", "of that user")
	folder := flag.String("folder", "", "an own folder for its files, which is removed at the end")
	flag.Parse()
	if *folder != "" {
		must(os.Setenv("TMPDIR", *folder))
		defer os.RemoveAll(*folder)
	}
	log.SetOutput(os.Stderr)

	model := simulator.VPX()
	model.Datacenter = *datacenters
	model.Host = 0
	model.Cluster = 1
	model.ClusterHost = 2
	model.Machine = 0
	model.Autostart = false
	// The oldest with a fault of its own for passwords that have expired.
	model.ServiceContent.About.ApiVersion = "6.7.2"
	model.ServiceContent.About.Version = "6.7.2"
	// Two simulators are two vCenters. (The simulator's own id is a constant.)
	model.ServiceContent.About.InstanceUuid = uuid.New().String()
	must(model.Create())
	defer model.Remove()

	service := model.Service
	service.Listen = &url.URL{Host: "127.0.0.1:0"}
	service.RegisterEndpoints = true
	inner := service.NewServer() // unused itself: the front calls its routes in this process
	defer inner.Close()

	client, err := vim25.NewClient(context.Background(), service)
	must(err)
	must(makeFolders(client))

	certificate, authority, err := makeCertificate()
	must(err)
	clients, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	tests, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)

	front := newFront(service.ServeMux, client)
	front.users[*user] = &account{Password: *password}
	go func() { must(serveTLS(clients, front, certificate)) }()
	go func() { must(http.Serve(tests, front.control())) }()

	must(json.NewEncoder(os.Stdout).Encode(map[string]interface{}{
		"port":    clients.Addr().(*net.TCPAddr).Port,
		"control": fmt.Sprintf("http://%s", tests.Addr()),
		"ca":      authority,
	}))
	_, _ = io.Copy(io.Discard, os.Stdin)
	front.mu.Lock() // nothing more is written from here on
}

func makeFolders(client *vim25.Client) error {
	ctx := context.Background()
	finder := find.NewFinder(client)
	datacenters, err := finder.DatacenterList(ctx, "*")
	if err != nil {
		return err
	}
	for _, datacenter := range datacenters {
		folders, err := datacenter.Folders(ctx)
		if err != nil {
			return err
		}
		if _, err = folders.VmFolder.CreateFolder(ctx, folderName); err != nil {
			return err
		}
	}
	return nil
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
