package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// rule makes calls go wrong.
type rule struct {
	// Method of the vim25 API, "NFC" (a disk comes in), "REST", or "*".
	Method string `json:"method"`
	// Skip so many calls first, then concern so many (0: all that follow).
	Skip  int `json:"skip"`
	Times int `json:"times"`

	// Do is what happens:
	//   fault          the call fails with Fault, and nothing was done
	//   task_fault     the call returns a task, as if all were well, and the task has failed with Fault
	//   task_slow      the call returns a task that runs for Seconds, and it is done then
	//   status         the HTTP status Status with Headers, and nothing was done
	//   drop           the connection ends, and nothing was done
	//   drop_response  it was done, and the connection ends before the answer
	//   hang           no answer for Seconds, and then the connection ends
	//   cut            of a disk, so many Bytes are read, and the connection ends
	Do      string            `json:"do"`
	Fault   string            `json:"fault"`
	Fields  json.RawMessage   `json:"fields"`
	Message string            `json:"message"`
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Bytes   int64             `json:"bytes"`
	Seconds float64           `json:"seconds"`

	seen int
}

var actions = []string{"fault", "task_fault", "task_slow", "status", "drop", "drop_response", "hang", "cut"}

func (r *rule) check() error {
	known := false
	for _, action := range actions {
		known = known || r.Do == action
	}
	if !known {
		return fmt.Errorf("do: one of %s", strings.Join(actions, ", "))
	}
	if r.Do == "fault" || r.Do == "task_fault" {
		_, err := makeFault(r.Fault, r.Fields)
		return err
	}
	return nil
}

// rule finds the first that concerns this call. The lock is held.
func (f *front) rule(name string) *rule {
	for _, each := range f.rules {
		if each.Method != name && each.Method != "*" {
			continue
		}
		each.seen++
		if each.seen > each.Skip && (each.Times == 0 || each.seen <= each.Skip+each.Times) {
			return each
		}
	}
	return nil
}

func (r *rule) apply(
	f *front, name string, w http.ResponseWriter, request *http.Request, do func() *answer,
) {
	switch r.Do {
	case "fault":
		made, err := makeFault(r.Fault, r.Fields)
		must(err)
		reply(w, fault(r.Message, made))
	case "task_fault":
		made, err := makeFault(r.Fault, r.Fields)
		must(err)
		f.mu.Lock()
		defer f.mu.Unlock()
		reply(w, f.failedTask(name, made))
	case "task_slow":
		reply(w, f.slowTask(name, r.Seconds, do))
	case "status":
		for name, value := range r.Headers {
			w.Header().Set(name, value)
		}
		w.WriteHeader(r.Status)
	case "drop":
		hangUp(w)
	case "drop_response":
		do()
		hangUp(w)
	case "hang":
		select {
		case <-time.After(time.Duration(r.Seconds * float64(time.Second))):
		case <-request.Context().Done():
		}
		hangUp(w)
	case "cut":
		_, _ = io.CopyN(io.Discard, request.Body, r.Bytes)
		hangUp(w)
	}
}

// failedTask answers a call that ends in "_Task" with a task that has failed already.
func (f *front) failedTask(method string, problem types.BaseMethodFault) *answer {
	if !strings.HasSuffix(method, "_Task") {
		return noTask(method)
	}
	task := f.task(method)
	task.Execute = func(*simulator.Task) (types.AnyType, types.BaseMethodFault) { return nil, problem }
	return taskAnswer(method, task.Run())
}

// slowTask answers with a task that runs for a while. Then the call is made, and ends as it does.
func (f *front) slowTask(method string, seconds float64, do func() *answer) *answer {
	if !strings.HasSuffix(method, "_Task") {
		return noTask(method)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	task := f.task(method)
	simulator.Map.Update(task, []types.PropertyChange{
		{Name: "info.state", Val: types.TaskInfoStateRunning},
		{Name: "info.startTime", Val: time.Now()},
		{Name: "info.progress", Val: int32(10)},
	})
	go func() {
		time.Sleep(time.Duration(seconds * float64(time.Second)))
		done, ok := simulator.Map.Get(returned(do(), "Task")).(*simulator.Task)
		f.mu.Lock()
		defer f.mu.Unlock()
		ended := []types.PropertyChange{{Name: "info.completeTime", Val: time.Now()}}
		if !ok { // refused at once
			ended = append(ended,
				types.PropertyChange{Name: "info.error", Val: types.LocalizedMethodFault{
					Fault: &types.SystemError{Reason: method + " was refused"},
				}},
				types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateError})
		} else {
			task.Info.Error = done.Info.Error
			task.Info.Result = done.Info.Result
			ended = append(ended, types.PropertyChange{Name: "info.state", Val: done.Info.State})
		}
		simulator.Map.Update(task, ended)
	}()
	return taskAnswer(method, task.Self)
}

// task makes one that has not begun, of a method that ends in "_Task".
func (f *front) task(method string) *simulator.Task {
	name := strings.TrimSuffix(method, "_Task") + "Task" // the simulator puts the line in again
	return simulator.CreateTask(f.client.ServiceContent.RootFolder, name, nil)
}

func taskAnswer(method string, task types.ManagedObjectReference) *answer {
	return xmlAnswer(http.StatusOK, []byte(fmt.Sprintf(
		`%s<%sResponse xmlns="%s"><returnval type="Task">%s</returnval></%sResponse>%s`,
		envelope, method, namespace, task.Value, method, envelopeEnd)))
}

func noTask(method string) *answer {
	return fault("returns no task: "+method, &types.InvalidRequest{})
}
