// Package turntest is a relay without media, for tests of gateways: it speaks the control channel, remembers what it
// was told, and fails in the ways real ones do.
package turntest

import (
	"context"
	"crypto/tls"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/core/signaling/control"
)

// Relay is a fake relay.
type Relay struct {
	ID      string
	tb      testing.TB
	tls     *tls.Config
	address string

	mu      sync.Mutex
	server  *control.Server
	stop    func()
	revoked map[string]int
	allows  bool
	mute    bool
}

// Start runs a fake relay until the test ends. serverTLS presents it and demands gateways' certificates.
func Start(tb testing.TB, id string, serverTLS *tls.Config) *Relay {
	tb.Helper()
	listener, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	r := &Relay{ID: id, tb: tb, tls: serverTLS, address: listener.Addr().String(), allows: true}
	r.serve(listener)
	tb.Cleanup(r.Stop)
	return r
}

// serve runs the relay as a new process: it remembers nothing.
func (r *Relay) serve(listener net.Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	r.mu.Lock()
	defer r.mu.Unlock()
	server := control.NewServer(signaling.Hello{ID: r.ID, Version: "test"}, handler{r}, zerolog.Nop())
	r.server, r.revoked = server, make(map[string]int)
	r.stop = func() { cancel(); <-done }
	go func() {
		defer close(done)
		_ = server.Serve(ctx, tls.NewListener(listener, r.tls))
	}()
}

// Stop ends the relay, as a process that ends does.
func (r *Relay) Stop() {
	r.mu.Lock()
	stop := r.stop
	r.mu.Unlock()
	stop()
}

// Restart runs a stopped relay again at its address.
func (r *Relay) Restart() {
	r.tb.Helper()
	listener, err := (&net.ListenConfig{}).Listen(r.tb.Context(), "tcp", r.address)
	require.NoError(r.tb, err)
	r.serve(listener)
}

// Service is how the relay announces itself.
func (r *Relay) Service(region string) discovery.Service {
	return discovery.Service{
		Name: discovery.TURNService, ID: r.ID, Node: r.ID, Region: region, Health: discovery.Passing,
		Meta: map[string]string{discovery.MetaControl: r.address, discovery.MetaTURN: r.ID + ".example:3478"},
	}
}

// Revoked is how often a credential was revoked since the relay started.
func (r *Relay) Revoked(credential string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.revoked[credential]
}

// AllowNothing makes the relay confirm no address from now on.
func (r *Relay) AllowNothing() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.allows = false
}

// Mute makes the relay answer nothing, although its channels stay up.
func (r *Relay) Mute() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mute = true
}

// Drain makes the relay say that it drains, or no longer does.
func (r *Relay) Drain(on bool) { r.current().SetDraining(on) }

// Say sends a frame to every gateway.
func (r *Relay) Say(m signaling.Message) { r.current().Broadcast(signaling.Frame{Message: m}) }

// Links is how many gateways are connected.
func (r *Relay) Links() int { return r.current().Links() }

func (r *Relay) current() *control.Server {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.server
}

type handler struct{ relay *Relay }

// Receive implements control.Handler.
func (h handler) Receive(link *control.Link, frame signaling.Frame) {
	r := h.relay
	r.mu.Lock()
	defer r.mu.Unlock()
	var answer signaling.Message
	switch m := frame.Message.(type) {
	case signaling.Revoke:
		done := signaling.Revoked{Credentials: []string{}}
		for _, each := range m.Revocations {
			r.revoked[each.Credential]++
			done.Credentials = append(done.Credentials, each.Credential)
		}
		answer = done
	case signaling.Allow:
		answer = signaling.Allowed{Addresses: slices.Clone(m.Addresses)}
		if !r.allows {
			answer = signaling.Allowed{Addresses: []string{}}
		}
	}
	if answer != nil && !r.mute {
		link.Send(signaling.Frame{Message: answer})
	}
}

// Lost implements control.Handler.
func (handler) Lost(*control.Link) {}

// Load implements control.Handler.
func (handler) Load() float64 { return 0 }
