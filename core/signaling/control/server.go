// Package control is the control channel between gateways and what they command, media servers and relays: one
// WebSocket over mutual TLS a pair (docs/protocol.md, "Gateway and SFU" and "Gateway and relay").
//
// A Server is the commanded side: it accepts gateways, a Link each. A Pool is a gateway's side: it dials, keeps
// channels up, and says when a peer counts as dead.
package control

import (
	"context"
	"errors"
	stdlog "log" //nolint:depguard // http.Server.ErrorLog has this type
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/rs/zerolog"

	"github.com/wardline/wardline/core/hangup"
	"github.com/wardline/wardline/core/signaling"
)

// Path and Subprotocol of the control channel.
const (
	Path        = "/v1/control"
	Subprotocol = "wardline.control.v1"
)

// Timing of a link.
const (
	heartbeatEvery = signaling.HeartbeatEveryMs * time.Millisecond
	silence        = signaling.SilenceMs * time.Millisecond // that a write may last, too
	gatewaySilence = signaling.GatewaySilenceMs * time.Millisecond
	helloTimeout   = 2 * time.Second
	// flushTimeout bounds how long a closing link may take to send what is queued.
	flushTimeout = time.Second
)

// Handler acts on what gateways say. Receive is called for one link's frames in order, and must not
// block on the network; Lost is called once, after the last Receive.
type Handler interface {
	Receive(link *Link, frame signaling.Frame)
	Lost(link *Link)
	// Load is what heartbeats report, as in signaling.Heartbeat.
	Load() float64
}

// maxGarbage is how many frames of one link may make no sense before it is closed. Frames of types that are not
// known are not among them: a newer gateway may say more.
const maxGarbage = 16

// Server accepts links and knows those that are up.
type Server struct {
	hello   signaling.Hello
	handler Handler
	log     zerolog.Logger
	garbage atomic.Uint64

	mu       sync.Mutex
	links    map[*Link]struct{}
	draining bool
	closing  bool
	running  sync.WaitGroup
}

// NewServer returns a server that introduces itself with hello.
func NewServer(hello signaling.Hello, handler Handler, log zerolog.Logger) *Server {
	return &Server{hello: hello, handler: handler, log: log, links: make(map[*Link]struct{})}
}

// Serve accepts links on listener until ctx ends, then flushes and closes them all and waits for their
// goroutines.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Path, s.accept)
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: helloTimeout,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          stdlog.New(serverLog{s.log}, "", 0),
		ConnState:         newNewcomers().follow,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, conn)
		},
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
		_ = server.Close()
		err = <-failed
	}
	s.closeLinks()
	s.running.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// connKey is where a request's context has its connection.
type connKey struct{}

// hangUp closes the connection that a request came over, which no longer belongs to the HTTP server.
func hangUp(r *http.Request) func() {
	return func() {
		if conn, ok := r.Context().Value(connKey{}).(net.Conn); ok {
			hangup.Now(conn)
		}
	}
}

// serverLog takes what http.Server has to say, which is about connections that never became a link.
type serverLog struct{ log zerolog.Logger }

// Write implements io.Writer.
func (s serverLog) Write(line []byte) (int, error) {
	s.log.Debug().Str("line", strings.TrimSpace(string(line))).Msg("http server")
	return len(line), nil
}

// Broadcast queues a frame on every link.
func (s *Server) Broadcast(frame signaling.Frame) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for link := range s.links {
		link.Send(frame)
	}
}

// SetDraining tells every gateway, those that connect later included, that the server drains or no longer does.
func (s *Server) SetDraining(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining == on {
		return
	}
	s.draining = on
	for link := range s.links {
		link.Send(signaling.Frame{Message: signaling.Draining{On: on}})
	}
}

// Links is how many gateways are connected.
func (s *Server) Links() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.links)
}

// Garbage is how many frames were not understood since the start.
func (s *Server) Garbage() uint64 { return s.garbage.Load() }

func (s *Server) closeLinks() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	for link := range s.links {
		link.finish()
	}
}

func (s *Server) accept(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols:    []string{Subprotocol},
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		s.log.Warn().Err(err).Msg("control channel refused")
		return
	}
	defer func() { _ = conn.CloseNow() }()
	if conn.Subprotocol() != Subprotocol {
		_ = conn.Close(websocket.StatusPolicyViolation, "subprotocol "+Subprotocol+" required")
		return
	}
	// A frame wraps a message; decoding refuses what is over the message's own limit.
	conn.SetReadLimit(signaling.MaxMessageBytes + 1024)
	link := newLink(conn, hangUp(r), s.handler.Load, s.log)
	if !s.add(link) {
		return
	}
	defer s.running.Done()
	s.run(link) //nolint:contextcheck // a link outlives its request
}

// add registers a link unless the server is closing.
func (s *Server) add(link *Link) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.running.Add(1)
	s.links[link] = struct{}{}
	link.Send(signaling.Frame{Message: s.hello})
	if s.draining {
		link.Send(signaling.Frame{Message: signaling.Draining{On: true}})
	}
	return true
}

func (s *Server) remove(link *Link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.links, link)
}

// run serves one link until it is lost.
func (s *Server) run(link *Link) {
	var writer sync.WaitGroup
	writer.Go(link.write)
	err := s.read(link)
	s.remove(link)
	link.cut()
	writer.Wait()
	s.log.Info().Str("gateway", link.Peer()).Err(err).Msg("gateway gone")
	s.handler.Lost(link)
}

// read hands frames to the handler until the link breaks, falls silent or misbehaves.
func (s *Server) read(link *Link) error {
	hello, err := link.receive(helloTimeout)
	if err != nil {
		return err
	}
	introduction, ok := hello.Message.(signaling.Hello)
	if !ok {
		return errNoHello
	}
	link.setPeer(introduction.ID)
	s.log.Info().Str("gateway", introduction.ID).Str("version", introduction.Version).Msg("gateway connected")
	for garbage := 0; ; {
		frame, err := link.receive(gatewaySilence)
		switch {
		case errors.Is(err, errFrame):
			s.garbage.Add(1)
			s.log.Warn().Str("gateway", introduction.ID).Err(err).Msg("frame ignored")
			if errors.Is(err, signaling.ErrUnknownType) {
				continue
			}
			garbage++
			if garbage > maxGarbage {
				return errGarbage
			}
		case err != nil:
			return err
		default:
			if _, beat := frame.Message.(signaling.Heartbeat); !beat {
				s.handler.Receive(link, frame)
			}
		}
	}
}
