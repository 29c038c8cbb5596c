package observe

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"
)

// checkTimeout bounds one readiness check.
const checkTimeout = time.Second

var errSlowCheck = errors.New("no answer within " + checkTimeout.String())

// check is one condition of readiness, or of being whole.
type check struct {
	name string
	run  func(context.Context) error
	// soft says that the component does its work without it.
	soft bool

	mu sync.Mutex
	// running is the probe under way. Requests share it, so a check that hangs hangs once.
	running *probe
}

// probe is one run of a check. err may be read once done is closed.
type probe struct {
	done chan struct{}
	err  error
}

// start joins the probe under way or begins one.
func (c *check) start(ctx context.Context) *probe {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running != nil {
		return c.running
	}
	p := &probe{done: make(chan struct{})}
	c.running = p
	// The probe is shared: it must not end with the request that happened to begin it.
	ctx = context.WithoutCancel(ctx)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, checkTimeout)
		defer cancel()
		err := c.run(ctx)
		c.mu.Lock()
		defer c.mu.Unlock()
		p.err, c.running = err, nil
		close(p.done)
	}()
	return p
}

// wait returns the probe's outcome, or errSlowCheck once expired is closed.
func (p *probe) wait(expired <-chan struct{}) error {
	select {
	case <-p.done:
		return p.err
	default:
	}
	select {
	case <-p.done:
		return p.err
	case <-expired:
		return errSlowCheck
	}
}

// checkState is a check as /ready shows it.
type checkState struct {
	Name  string `json:"name"`
	Ready bool   `json:"ready"`
	Error string `json:"error,omitempty"`
}

// readiness is the body of /ready.
type readiness struct {
	Ready bool `json:"ready"`
	// Status is "ready", "degraded" (it works, without something it would rather have) or "not ready".
	Status string       `json:"status"`
	Checks []checkState `json:"checks"`
}

// States of readiness.
const (
	statusReady    = "ready"
	statusDegraded = "degraded"
	statusNotReady = "not ready"
)

// probeAll runs all checks side by side.
func probeAll(ctx context.Context, checks []*check) readiness {
	probes := make([]*probe, len(checks))
	for i, check := range checks {
		probes[i] = check.start(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	result := readiness{Ready: true, Status: statusReady, Checks: make([]checkState, len(checks))}
	for i, probe := range probes {
		state := checkState{Name: checks[i].name, Ready: true}
		if err := probe.wait(ctx.Done()); err != nil {
			state.Ready, state.Error = false, err.Error()
			result.fail(checks[i].soft)
		}
		result.Checks[i] = state
	}
	return result
}

func (r *readiness) fail(soft bool) {
	if !soft {
		r.Ready, r.Status = false, statusNotReady
	} else if r.Ready {
		r.Status = statusDegraded
	}
}

func (a *Admin) serveReady(w http.ResponseWriter, r *http.Request) {
	result := probeAll(r.Context(), a.snapshot())
	body, err := json.Marshal(result)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !result.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write(append(body, '\n')) // an asker who is gone needs no answer
}
