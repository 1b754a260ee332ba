// An SSH server for tests, in place of the one in a guest: on 127.0.0.1, with a host key of its own.
//
// Any user may log in whose key is in the file "authorized_keys" of its folder, which is read anew at each
// login. Commands run as whoever started the server, in "home", and are recorded in "record". Its port and
// host key are printed as one line of JSON; a private key in the file "host_key" takes the place of its
// own. It ends when its standard input ends: with whoever started it, however that ended.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/crypto/ssh"
)

func main() {
	folder := flag.String("folder", "", "where its files are; removed at the end")
	address := flag.String("address", "127.0.0.1:0", "where to listen")
	flag.Parse()
	defer os.RemoveAll(*folder)
	authorized := filepath.Join(*folder, "authorized_keys")

	_, key, err := ed25519.GenerateKey(rand.Reader)
	must(err)
	host, err := ssh.NewSignerFromKey(key)
	must(err)
	// Made for each connection: a guest's keys come after its start.
	config := func() *ssh.ServerConfig {
		made := &ssh.ServerConfig{
			PublicKeyCallback: func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
				if known(authorized, key) {
					return nil, nil
				}
				return nil, fmt.Errorf("unknown key of %s", meta.User())
			},
		}
		made.AddHostKey(host)
		if text, err := os.ReadFile(filepath.Join(*folder, "host_key")); err == nil {
			if given, err := ssh.ParsePrivateKey(text); err == nil {
				made.AddHostKey(given)
			}
		}
		return made
	}
	listener, err := net.Listen("tcp", *address)
	must(err)
	must(json.NewEncoder(os.Stdout).Encode(map[string]interface{}{
		"port":     listener.Addr().(*net.TCPAddr).Port,
		"host_key": strings.TrimSpace(string(ssh.MarshalAuthorizedKey(host.PublicKey()))),
	}))
	server := &server{
		config: config,
		home:   filepath.Join(*folder, "home"),
		record: filepath.Join(*folder, "record"),
	}
	go func() {
		for {
			connection, err := listener.Accept()
			must(err)
			go server.serve(connection)
		}
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// known: is the key in the file? Lines that are not keys are passed over.
func known(file string, key ssh.PublicKey) bool {
	text, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	for _, line := range bytes.Split(text, []byte("\n")) {
		one, _, _, _, err := ssh.ParseAuthorizedKey(line)
		if err == nil && bytes.Equal(one.Marshal(), key.Marshal()) {
			return true
		}
	}
	return false
}

type server struct {
	config       func() *ssh.ServerConfig
	home, record string
	recording    sync.Mutex
}

func (s *server) serve(tcp net.Conn) {
	connection, channels, requests, err := ssh.NewServerConn(tcp, s.config())
	if err != nil {
		return // a look at the port, or a key that is not known
	}
	defer connection.Close()
	go ssh.DiscardRequests(requests)
	for offered := range channels {
		if offered.ChannelType() != "session" {
			_ = offered.Reject(ssh.UnknownChannelType, "sessions only")
			continue
		}
		channel, requests, err := offered.Accept()
		if err == nil {
			go s.session(connection.User(), channel, requests)
		}
	}
}

// session runs one command, or a shell that reads its commands from the client. A terminal is promised
// and not given: nobody looks.
func (s *server) session(user string, channel ssh.Channel, requests <-chan *ssh.Request) {
	environment := append(os.Environ(), "HOME="+s.home, "USER="+user, "LOGNAME="+user)
	for request := range requests {
		switch request.Type {
		case "env":
			var set struct{ Name, Value string }
			_ = ssh.Unmarshal(request.Payload, &set)
			environment = append(environment, set.Name+"="+set.Value)
			_ = request.Reply(true, nil)
		case "pty-req", "window-change":
			_ = request.Reply(true, nil)
		case "exec", "shell":
			var given struct{ Command string }
			if request.Type == "exec" {
				_ = ssh.Unmarshal(request.Payload, &given)
			}
			_ = request.Reply(true, nil)
			go s.run(user, given.Command, environment, channel)
		default: // subsystems, forwarding
			_ = request.Reply(false, nil)
		}
	}
}

func (s *server) run(user, line string, environment []string, channel ssh.Channel) {
	defer channel.Close()
	command := exec.Command("/bin/sh")
	if line != "" {
		command.Args = append(command.Args, "-c", line)
	}
	command.Dir, command.Env = s.home, environment
	command.Stdout, command.Stderr = channel, channel.Stderr()
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// Not Stdin: that would wait for the client to close its side after the command has ended.
	input, err := command.StdinPipe()
	must(err)
	go func() {
		_, _ = io.Copy(input, channel)
		_ = input.Close()
	}()
	status := uint32(0)
	err = command.Run()
	var failed *exec.ExitError
	switch {
	case errors.As(err, &failed):
		status = uint32(failed.ExitCode())
	case err != nil:
		status = 127
	}
	s.note(user, line, status)
	_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
}

func (s *server) note(user, line string, status uint32) {
	s.recording.Lock()
	defer s.recording.Unlock()
	file, err := os.OpenFile(s.record, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	must(err)
	defer file.Close()
	must(json.NewEncoder(file).Encode(map[string]interface{}{
		"user": user, "command": line, "status": status,
	}))
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
