// Package sfutest is a media server without media, for tests of gateways: it speaks the control channel,
// remembers what it was told, and fails in the ways real ones do.
package sfutest

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/signaling"
)

const (
	path        = "/v1/control"
	subprotocol = "wardline.control.v1"
)

// SFU is a fake media server.
type SFU struct {
	ID       string
	listener net.Listener
	server   *http.Server
	done     chan struct{}

	mu     sync.Mutex
	frames []signaling.Frame
	legs   map[legKey]*link
	links  map[*link]struct{}
	people map[string]string // participants by session
	refuse string
	deaf   bool
	mute   bool
	silent bool
	drains bool
	load   float64
	wake   chan struct{} // closed when silence or the life of the server ends
	wg     sync.WaitGroup
}

type legKey struct {
	session string
	route   signaling.Route
}

type link struct {
	conn *websocket.Conn
	mu   sync.Mutex
}

// Start runs a fake SFU until the test ends. serverTLS presents it and demands gateways' certificates.
func Start(tb testing.TB, id string, serverTLS *tls.Config) *SFU {
	tb.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", serverTLS)
	require.NoError(tb, err)
	s := &SFU{
		ID: id, listener: listener, done: make(chan struct{}),
		legs: make(map[legKey]*link), links: make(map[*link]struct{}), people: make(map[string]string), wake: make(chan struct{}),
	}
	mux := http.NewServeMux()
	mux.HandleFunc(path, s.accept)
	s.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		defer close(s.done)
		_ = s.server.Serve(listener)
	}()
	tb.Cleanup(s.Stop)
	return s
}

// Service is how the SFU announces itself.
func (s *SFU) Service(region string) discovery.Service {
	return discovery.Service{
		Name: discovery.SFUService, ID: s.ID, Node: s.ID, Region: region, Health: discovery.Passing,
		Meta: map[string]string{discovery.MetaControl: s.listener.Addr().String(), discovery.MetaLoad: "0"},
	}
}

// Stop closes everything, as a process that ends does.
func (s *SFU) Stop() {
	s.Silence(false)
	_ = s.server.Close()
	s.Drop()
	<-s.done
	s.wg.Wait()
}

// Drop breaks the channels; the SFU goes on and can be dialed again.
func (s *SFU) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.links {
		_ = l.conn.CloseNow()
	}
}

// Forget makes the SFU lose all legs, as a restart does.
func (s *SFU) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.legs = make(map[legKey]*link)
}

// Silence stops the SFU from reading and saying anything, without closing a socket.
func (s *SFU) Silence(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.silent && !on {
		close(s.wake)
		s.wake = make(chan struct{})
	}
	s.silent = on
}

// Refuse makes the SFU refuse reservations and attaches with a code; "" accepts again.
func (s *SFU) Refuse(code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = code
}

// IgnoreAttaches makes the SFU leave attaches without an answer while all else goes on.
func (s *SFU) IgnoreAttaches(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deaf = on
}

// IgnoreOffers makes the SFU leave offers and restarts without an answer while all else goes on.
func (s *SFU) IgnoreOffers(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mute = on
}

// Drain makes the SFU say that it drains, to gateways that connect later too, and refuse new encounters; or ends that.
func (s *SFU) Drain(on bool) {
	s.mu.Lock()
	s.drains = on
	s.mu.Unlock()
	s.Broadcast(signaling.Frame{Message: signaling.Draining{On: on}})
}

// SetLoad changes what heartbeats say.
func (s *SFU) SetLoad(load float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.load = load
}

// Links is how many gateways are connected.
func (s *SFU) Links() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.links)
}

// Frames returns what gateways said so far, hellos and heartbeats aside.
func (s *SFU) Frames() []signaling.Frame {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]signaling.Frame(nil), s.frames...)
}

// All returns the messages of one type that gateways sent, with their sessions.
func All[M signaling.Message](s *SFU) (messages []M, sessions []string) {
	for _, frame := range s.Frames() {
		if m, ok := frame.Message.(M); ok {
			messages, sessions = append(messages, m), append(sessions, frame.Session)
		}
	}
	return messages, sessions
}

// Tell sends a session's message to the gateway that attached one of its legs last.
func (s *SFU) Tell(session string, m signaling.Message) {
	s.mu.Lock()
	var to *link
	for key, l := range s.legs {
		if key.session == session {
			to = l
		}
	}
	s.mu.Unlock()
	if to != nil {
		s.send(context.Background(), to, signaling.Frame{Session: session, Message: m})
	}
}

// Broadcast sends a frame to every gateway.
func (s *SFU) Broadcast(frame signaling.Frame) {
	s.mu.Lock()
	links := make([]*link, 0, len(s.links))
	for l := range s.links {
		links = append(links, l)
	}
	s.mu.Unlock()
	for _, l := range links {
		s.send(context.Background(), l, frame)
	}
}

// quiet blocks while the SFU is silent.
func (s *SFU) quiet(ctx context.Context) {
	for {
		s.mu.Lock()
		silent, wake := s.silent, s.wake
		s.mu.Unlock()
		if !silent {
			return
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return
		}
	}
}

func (s *SFU) accept(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.wg.Add(1)
	s.mu.Unlock()
	defer s.wg.Done()
	s.quiet(r.Context())
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{subprotocol}})
	if err != nil {
		return
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(signaling.MaxMessageBytes + 1024)
	l := &link{conn: conn}
	s.mu.Lock()
	s.links[l] = struct{}{}
	drains := s.drains
	s.mu.Unlock()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	s.send(ctx, l, signaling.Frame{Message: signaling.Hello{ID: s.ID, Version: "test"}})
	if drains {
		s.send(ctx, l, signaling.Frame{Message: signaling.Draining{On: true}})
	}
	s.wg.Go(func() { s.beat(ctx, l) })
	for {
		_, data, err := conn.Read(ctx)
		if err != nil {
			break
		}
		s.quiet(ctx)
		if frame, err := signaling.DecodeFrame(data); err == nil {
			s.receive(ctx, l, frame)
		}
	}
	s.mu.Lock()
	delete(s.links, l)
	s.mu.Unlock()
}

func (s *SFU) beat(ctx context.Context, l *link) {
	ticker := time.NewTicker(signaling.HeartbeatEveryMs * time.Millisecond / 2)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.mu.Lock()
			load := s.load
			s.mu.Unlock()
			s.send(ctx, l, signaling.Frame{Message: signaling.Heartbeat{Load: load}})
		case <-ctx.Done():
			return
		}
	}
}

func (s *SFU) send(ctx context.Context, l *link, frame signaling.Frame) {
	s.mu.Lock()
	silent := s.silent
	s.mu.Unlock()
	data, err := signaling.EncodeFrame(frame)
	if err != nil || silent {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_ = l.conn.Write(ctx, websocket.MessageText, data)
}

// receive remembers a frame and answers as an SFU does.
func (s *SFU) receive(ctx context.Context, l *link, frame signaling.Frame) {
	reply := func(m signaling.Message) { s.send(ctx, l, signaling.Frame{Session: frame.Session, Message: m}) }
	s.mu.Lock()
	refuse, deaf := s.refuse, s.deaf
	switch frame.Message.(type) {
	case signaling.Hello, signaling.Heartbeat:
		s.mu.Unlock()
		return
	}
	s.frames = append(s.frames, frame)
	resumed := false
	switch m := frame.Message.(type) {
	case signaling.Attach:
		s.people[frame.Session] = m.Participant
		if refuse == "" && !deaf {
			_, resumed = s.legs[legKey{frame.Session, m.Route}]
			s.legs[legKey{frame.Session, m.Route}] = l
		}
	case signaling.Detach:
		delete(s.legs, legKey{frame.Session, m.Route})
	}
	s.mu.Unlock()
	switch m := frame.Message.(type) {
	case signaling.Reserve:
		if refuse := s.refusal(); refuse != "" {
			reply(signaling.Refused{EncounterRef: m.EncounterRef, Code: refuse, About: m.Type()})
			return
		}
		reply(m)
	case signaling.Attach:
		if deaf {
			return
		}
		if refuse != "" {
			reply(signaling.Refused{Route: m.Route, EncounterRef: m.EncounterRef, Code: refuse, About: m.Type()})
			return
		}
		reply(signaling.Attached{Route: m.Route, Resumed: resumed})
	case signaling.MuteRequest:
		s.passOn(m.Participant, m)
	case signaling.SenderKey:
		s.passOn(m.Participant, m)
	case signaling.Offer, signaling.Restart:
		s.answer(m, reply)
	}
}

// refusal is the code that a reservation is refused with.
func (s *SFU) refusal() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drains && s.refuse == "" {
		return signaling.RefusedDraining
	}
	return s.refuse
}

// passOn sends a message to a participant by way of their gateway.
func (s *SFU) passOn(target string, m signaling.Message) {
	s.mu.Lock()
	var to []string
	for session, participant := range s.people {
		if participant == target {
			to = append(to, session)
		}
	}
	s.mu.Unlock()
	for _, session := range to {
		s.Tell(session, m)
	}
}

// BadSDP is an offer that the fake refuses.
const BadSDP = "bad sdp"

// answer answers an offer or a restart.
func (s *SFU) answer(m signaling.Message, reply func(signaling.Message)) {
	s.mu.Lock()
	mute := s.mute
	s.mu.Unlock()
	if mute {
		return
	}
	switch m := m.(type) {
	case signaling.Restart:
		reply(signaling.Restarted{Route: m.Route, PC: m.PC, Fragment: "restarted:" + m.Fragment})
	case signaling.Offer:
		if m.SDP == BadSDP {
			reply(signaling.Refused{Route: m.Route, Code: signaling.RefusedInvalid, Message: "bad", About: m.Type()})
			return
		}
		reply(signaling.Answer{Route: m.Route, PC: m.PC, Negotiation: m.Negotiation, SDP: "answer:" + m.SDP})
	}
}
