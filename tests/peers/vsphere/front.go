package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// front stands before the simulator's routes, in the same process.
//
// One lock is held for every call, because the simulator does not survive all that clients do at the
// same time. Only waiting for updates and receiving disks are let through beside it.
type front struct {
	inner  http.Handler
	client *vim25.Client

	mu       sync.Mutex
	users    map[string]*account
	sessions map[string]string // cookie of SOAP or id of REST: user
	rules    []*rule
	counts   map[string]int
	waits    int // of these, how many asked for nothing but how tasks are getting on
	pages    map[string]*pages
	leases   map[types.ManagedObjectReference]*lease
	uploads  map[types.ManagedObjectReference][]*upload // by VM
	settings settings
}

// background: calls that the front makes itself have no client that could go away.
var background = context.Background()

type settings struct {
	GuestIP     string   `json:"guest_ip"`    // of machines that are switched on; "": they never get one
	ClockSkew   float64  `json:"clock_skew"`  // seconds that this vCenter's clock is ahead
	PageLimit   int      `json:"page_limit"`  // objects that it returns at most at once
	Unreachable []string `json:"unreachable"` // datacenters
}

func newFront(inner http.Handler, client *vim25.Client) *front {
	return &front{
		inner:    inner,
		client:   client,
		users:    make(map[string]*account),
		sessions: make(map[string]string),
		counts:   make(map[string]int),
		pages:    make(map[string]*pages),
		leases:   make(map[types.ManagedObjectReference]*lease),
		uploads:  make(map[types.ManagedObjectReference][]*upload),
		settings: settings{GuestIP: "127.0.0.1", PageLimit: 1000},
	}
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasPrefix(r.URL.Path, "/nfc/"):
		f.guarded(w, r, "NFC", func() *answer { return f.receive(r) })
	case strings.HasPrefix(r.URL.Path, "/rest/"):
		f.guarded(w, r, "REST", func() *answer { return f.rest(r) })
	case r.URL.Path == vim25.Path || r.URL.Path == vim25.Path+"/vimService":
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client went away
		}
		method, err := parse(body)
		if err != nil {
			reply(w, fault(err.Error(), &types.InvalidRequest{}))
			return
		}
		f.mu.Lock()
		session := f.session(r)
		f.mu.Unlock()
		f.guarded(w, r, method.Name, func() *answer { return f.soap(session, r, body, method) })
	case r.URL.Path == vim25.Path+"/vimServiceVersions.xml", strings.HasPrefix(r.URL.Path, "/folder/"):
		f.guarded(w, r, r.URL.Path, func() *answer {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.forward(r, nil)
		})
	default:
		http.Error(w, "not modelled: "+r.URL.Path, http.StatusNotImplemented)
	}
}

// guarded counts the call, applies the first rule that concerns it, and answers.
func (f *front) guarded(w http.ResponseWriter, r *http.Request, name string, do func() *answer) {
	f.mu.Lock()
	f.counts[name]++
	rule := f.rule(name)
	f.mu.Unlock()
	if rule != nil {
		rule.apply(f, name, w, r, do)
		return
	}
	reply(w, do())
}

// soap answers a call of the vim25 API.
func (f *front) soap(session string, r *http.Request, body []byte, method *simulator.Method) *answer {
	if blocking(method) {
		return f.forward(r, body)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if aboutTasks(method) {
		f.waits++
	}
	if answer := f.authorise(session, method); answer != nil {
		return answer
	}
	if answer := f.before(session, method); answer != nil {
		return answer
	}
	undo := f.prepare(method)
	answer := f.forward(r, body)
	undo()
	return f.after(session, method, answer)
}

// blocking calls wait for others to change something, and must not hold the lock.
func blocking(method *simulator.Method) bool {
	switch call := method.Body.(type) {
	case *types.WaitForUpdatesEx:
		return call.Version != ""
	case *types.WaitForUpdates:
		return call.Version != ""
	case *types.CancelWaitForUpdates:
		return true
	}
	return false
}

// aboutTasks: whether the call reads tasks, and nothing else.
func aboutTasks(method *simulator.Method) bool {
	call, ok := method.Body.(*types.RetrievePropertiesEx)
	if !ok {
		return false
	}
	for _, spec := range call.SpecSet {
		for _, object := range spec.ObjectSet {
			if object.Obj.Type != "Task" {
				return false
			}
		}
	}
	return true
}

// session is the cookie of a session that is alive, or "".
func (f *front) session(r *http.Request) string {
	cookie, err := r.Cookie(soap.SessionCookieName)
	if err != nil {
		return ""
	}
	value := strings.Trim(cookie.Value, `"`)
	if _, alive := f.sessions[value]; !alive {
		r.Header.Del("Cookie") // so that the simulator does not know it either
		return ""
	}
	return value
}

// forward has the simulator answer.
func (f *front) forward(r *http.Request, body []byte) (given *answer) {
	defer func() {
		if problem := recover(); problem != nil {
			log.Printf("the simulator failed: %s: %v", r.URL.Path, problem)
			given = &answer{http.StatusInternalServerError, http.Header{}, []byte(fmt.Sprint(problem))}
		}
	}()
	request := r.Clone(r.Context())
	request.URL = &url.URL{Path: r.URL.Path, RawQuery: r.URL.RawQuery}
	if body != nil {
		request.Body = io.NopCloser(bytes.NewReader(body))
		request.ContentLength = int64(len(body))
	}
	recorder := httptest.NewRecorder()
	f.inner.ServeHTTP(recorder, request)
	return &answer{recorder.Code, recorder.Header(), recorder.Body.Bytes()}
}

// rest answers a call of the REST API: tags and content libraries.
func (f *front) rest(r *http.Request) *answer {
	f.mu.Lock()
	defer f.mu.Unlock()
	const path = "/rest/com/vmware/cis/session"
	if r.URL.Path == path && r.Method == http.MethodPost && r.URL.RawQuery == "" {
		name, password, _ := r.BasicAuth()
		user, ok := f.users[name]
		if !ok || user.Password != password || user.Expired {
			return &answer{http.StatusUnauthorized, http.Header{}, nil}
		}
		given := f.forward(r, nil)
		for _, cookie := range (&http.Response{Header: given.header}).Cookies() {
			f.sessions[cookie.Value] = name
		}
		return given
	}
	id := r.Header.Get("vmware-api-session-id")
	if cookie, err := r.Cookie("vmware-api-session-id"); id == "" && err == nil {
		id = cookie.Value
	}
	if _, alive := f.sessions[id]; !alive {
		return &answer{http.StatusUnauthorized, http.Header{}, nil}
	}
	return f.forward(r, nil)
}

func reply(w http.ResponseWriter, given *answer) {
	for name, values := range given.header {
		w.Header()[name] = values
	}
	w.WriteHeader(given.status)
	_, _ = w.Write(given.body)
}

// hangUp ends the connection without an answer, or with less of it than was announced.
func hangUp(w http.ResponseWriter) {
	connection, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		_ = connection.Close()
	}
}

func now(skew float64) time.Time {
	return time.Now().Add(time.Duration(skew * float64(time.Second)))
}
