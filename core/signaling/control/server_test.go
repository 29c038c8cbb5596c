package control_test

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/core/signaling/control"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

// recorder is a handler that remembers.
type recorder struct {
	frames chan signaling.Frame
	links  chan *control.Link
	lost   chan *control.Link
	once   sync.Once
}

func (r *recorder) Receive(link *control.Link, frame signaling.Frame) {
	r.once.Do(func() { r.links <- link })
	r.frames <- frame
}

func (r *recorder) Load() float64 { return 0.5 }

func (r *recorder) Lost(link *control.Link) { r.lost <- link }

type world struct {
	*testing.T
	recorder *recorder
	server   *control.Server
	address  string
	stop     func()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &world{T: t, address: "ws://" + listener.Addr().String() + control.Path, recorder: &recorder{
		frames: make(chan signaling.Frame, 16), links: make(chan *control.Link, 1), lost: make(chan *control.Link, 4),
	}}
	w.server = control.NewServer(signaling.Hello{ID: "sfu-1", Version: "v"}, w.recorder, zerolog.Nop())
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- w.server.Serve(ctx, listener) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-served)
	})
	t.Cleanup(func() {
		w.stop()
		http.DefaultClient.CloseIdleConnections()
	})
	return w
}

func (w *world) dial(subprotocols ...string) *websocket.Conn {
	w.Helper()
	conn, _, err := websocket.Dial(w.Context(), w.address, &websocket.DialOptions{Subprotocols: subprotocols})
	require.NoError(w, err)
	w.Cleanup(func() { _ = conn.CloseNow() })
	return conn
}

func (w *world) send(conn *websocket.Conn, frame signaling.Frame) {
	w.Helper()
	data, err := signaling.EncodeFrame(frame)
	require.NoError(w, err)
	require.NoError(w, conn.Write(w.Context(), websocket.MessageText, data))
}

// greet introduces a gateway, which then beats until the test ends.
func (w *world) greet(conn *websocket.Conn) {
	w.Helper()
	w.send(conn, signaling.Frame{Message: signaling.Hello{ID: "gw-1"}})
	data, err := signaling.EncodeFrame(signaling.Frame{Message: signaling.Heartbeat{}})
	require.NoError(w, err)
	ctx, cancel := context.WithCancel(context.Background())
	var beating sync.WaitGroup
	beating.Go(func() {
		for conn.Write(ctx, websocket.MessageText, data) == nil {
			select {
			case <-time.After(signaling.GatewayHeartbeatEveryMs * time.Millisecond / 2):
			case <-ctx.Done():
			}
		}
	})
	w.Cleanup(func() {
		cancel()
		beating.Wait()
	})
}

func (w *world) receive(conn *websocket.Conn) signaling.Message {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	_, data, err := conn.Read(ctx)
	require.NoError(w, err)
	frame, err := signaling.DecodeFrame(data)
	require.NoError(w, err)
	return frame.Message
}

func within[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		require.Fail(t, "nothing came")
		panic("unreachable")
	}
}

func TestLinkExchangesHelloHeartbeatsAndFrames(t *testing.T) {
	w := newWorld(t)
	conn := w.dial(control.Subprotocol)
	require.Equal(t, signaling.Hello{ID: "sfu-1", Version: "v"}, w.receive(conn))
	w.send(conn, signaling.Frame{Message: signaling.Hello{ID: "gw-1"}})
	require.Equal(t, signaling.Heartbeat{Load: 0.5}, w.receive(conn))
	require.NoError(t, conn.Write(t.Context(), websocket.MessageText, []byte(`{"message":{"type":"no-such"}}`)))
	require.NoError(t, conn.Write(t.Context(), websocket.MessageBinary, []byte("binary")))
	w.send(conn, signaling.Frame{Message: signaling.Heartbeat{}})
	frame := signaling.Frame{Session: "s", Message: signaling.Detach{Route: signaling.Route{Leg: 1}}}
	w.send(conn, frame)
	require.Equal(t, frame, within(t, w.recorder.frames), "what is not understood is skipped, heartbeats are not passed on")
	link := within(t, w.recorder.links)
	require.Equal(t, "gw-1", link.Peer())
	require.Equal(t, 1, w.server.Links())
	w.server.Broadcast(frame)
	require.Eventually(t, func() bool { return w.receive(conn) == frame.Message }, patience, time.Millisecond)
	require.NoError(t, conn.CloseNow())
	require.Same(t, link, within(t, w.recorder.lost))
	require.Zero(t, w.server.Links())
}

func TestLoadArrivesAlsoWhileThereIsMuchElseToSay(t *testing.T) {
	w := newWorld(t)
	conn := w.dial(control.Subprotocol)
	w.greet(conn)
	done := make(chan struct{})
	var chatter sync.WaitGroup
	chatter.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
				w.server.Broadcast(signaling.Frame{Session: "s", Message: signaling.Speaker{Route: signaling.Route{Leg: 1}}})
			}
		}
	})
	defer chatter.Wait()
	defer close(done)
	require.Eventually(t, func() bool {
		return w.receive(conn) == signaling.Heartbeat{Load: 0.5}
	}, patience, time.Millisecond)
}

func TestEveryGatewayHearsOfDraining(t *testing.T) {
	w := newWorld(t)
	early := w.dial(control.Subprotocol)
	require.IsType(t, signaling.Hello{}, w.receive(early))
	w.server.SetDraining(true)
	w.server.SetDraining(true)
	require.Equal(t, signaling.Draining{On: true}, w.receive(early))
	late := w.dial(control.Subprotocol)
	require.IsType(t, signaling.Hello{}, w.receive(late))
	require.Equal(t, signaling.Draining{On: true}, w.receive(late))
	w.server.SetDraining(false)
	for _, conn := range []*websocket.Conn{early, late} {
		require.Eventually(t, func() bool { return w.receive(conn) == signaling.Draining{On: false} }, patience, time.Millisecond)
	}
}

func TestSilentGatewayIsLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	conn := w.dial(control.Subprotocol)
	w.send(conn, signaling.Frame{Message: signaling.Hello{ID: "gw-1"}})
	start := time.Now()
	within(t, w.recorder.lost)
	require.GreaterOrEqual(t, time.Since(start), signaling.SilenceMs*time.Millisecond-50*time.Millisecond)
}

func TestFirstFrameMustBeHello(t *testing.T) {
	w := newWorld(t)
	conn := w.dial(control.Subprotocol)
	w.send(conn, signaling.Frame{Message: signaling.Heartbeat{}})
	within(t, w.recorder.lost)
}

func TestSubprotocolIsRequired(t *testing.T) {
	w := newWorld(t)
	conn := w.dial()
	_, _, err := conn.Read(t.Context())
	require.Equal(t, websocket.StatusPolicyViolation, websocket.CloseStatus(err))
	require.Zero(t, w.server.Links())
}

func TestOversizeFrameEndsTheLink(t *testing.T) {
	w := newWorld(t)
	conn := w.dial(control.Subprotocol)
	w.send(conn, signaling.Frame{Message: signaling.Hello{ID: "gw-1"}})
	_ = conn.Write(t.Context(), websocket.MessageText, make([]byte, signaling.MaxMessageBytes+2048))
	within(t, w.recorder.lost)
}

func TestSlowGatewayIsCutAndBlocksNobody(t *testing.T) {
	w := newWorld(t)
	conn := w.dial(control.Subprotocol)
	w.greet(conn)
	require.Eventually(t, func() bool { return w.server.Links() == 1 }, patience, 5*time.Millisecond)
	big := signaling.Frame{Session: "s", Message: signaling.Offer{
		Route: signaling.Route{Leg: 1}, PC: signaling.Publish, SDP: string(make([]byte, 8<<10)),
	}}
	start := time.Now()
	for range 10_000 {
		w.server.Broadcast(big)
	}
	require.Less(t, time.Since(start), patience)
	within(t, w.recorder.lost)
}

func TestClosingSendsWhatIsQueued(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	conn := w.dial(control.Subprotocol)
	w.greet(conn)
	require.Eventually(t, func() bool { return w.server.Links() == 1 }, patience, 5*time.Millisecond)
	for leg := range uint32(100) {
		w.server.Broadcast(signaling.Frame{Session: "s", Message: signaling.Gone{Route: signaling.Route{Leg: leg + 1}}})
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		w.stop()
	}()
	for seen := uint32(0); seen < 100; {
		if gone, ok := w.receive(conn).(signaling.Gone); ok {
			seen = gone.Leg
		}
	}
	within(t, stopped)
	within(t, w.recorder.lost)
}

func TestFrameThatIsTooLargeEndsNoLink(t *testing.T) {
	w := newWorld(t)
	conn := w.dial(control.Subprotocol)
	w.greet(conn)
	require.Eventually(t, func() bool { return w.server.Links() == 1 }, patience, 5*time.Millisecond)
	gone := signaling.Gone{Route: signaling.Route{Leg: 1}, Reason: string(make([]byte, signaling.MaxMessageBytes))}
	w.server.Broadcast(signaling.Frame{Session: "s", Message: gone})
	w.server.Broadcast(signaling.Frame{Session: "s", Message: signaling.Gone{Route: signaling.Route{Leg: 2}}})
	require.Eventually(t, func() bool {
		got, ok := w.receive(conn).(signaling.Gone)
		return ok && got.Leg == 2
	}, patience, time.Millisecond)
}
