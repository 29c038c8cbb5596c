package sfu

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/core/signaling/control"
)

// patience bounds waits on a loaded machine; nothing waits that long when it works.
const patience = 20 * time.Second

const (
	encounter = "visit"
	alice     = "alice"
	bob       = "bob"
	carol     = "carol"
)

var theVisit = signaling.EncounterRef{Tenant: "clinic", Encounter: encounter}

// testTLS returns mutual TLS configurations for both sides of the control channel.
func testTLS(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"sfu.wardline.internal"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(certificate)
	pair := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	server = &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS13,
	}
	client = &tls.Config{
		Certificates: []tls.Certificate{pair}, RootCAs: pool, ServerName: "sfu.wardline.internal", MinVersion: tls.VersionTLS13,
	}
	return server, client
}

// world is a running server and what tests need around it.
type world struct {
	*testing.T
	server    *Server
	registry  *prometheus.Registry
	clientTLS *tls.Config
	stop      func()
}

func newWorld(t *testing.T, change ...func(*Config)) *world {
	t.Helper()
	t.Parallel()
	return newQuietWorld(t, change...)
}

// newQuietWorld is for tests that measure times: no other runs beside them.
func newQuietWorld(t *testing.T, change ...func(*Config)) *world {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &world{T: t, registry: prometheus.NewRegistry()}
	cfg := Config{
		ID: "sfu-1", Version: "test", Control: listener, Media: "127.0.0.1:0",
		Capacity: 100, Registry: w.registry, Log: zerolog.New(zerolog.NewTestWriter(t)).Level(zerolog.InfoLevel),
	}
	cfg.ControlTLS, w.clientTLS = testTLS(t)
	for _, each := range change {
		each(&cfg)
	}
	w.server, err = New(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- w.server.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ran:
			require.NoError(t, err)
		case <-time.After(2 * stopWithin):
			require.Fail(t, "server did not stop")
		}
	})
	t.Cleanup(w.stop)
	return w
}

// gateway speaks the control channel.
type gateway struct {
	w    *world
	conn *websocket.Conn
	stop func()

	mu     sync.Mutex
	frames []signaling.Frame
	frozen atomic.Bool // neither reads nor sends any more
}

func (w *world) gateway() *gateway {
	w.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: w.clientTLS}}
	ctx, cancel := context.WithCancel(context.Background())
	conn, _, err := websocket.Dial(ctx, "https://"+w.server.ControlAddr()+control.Path, &websocket.DialOptions{
		HTTPClient: client, Subprotocols: []string{control.Subprotocol},
	})
	require.NoError(w, err)
	conn.SetReadLimit(signaling.MaxMessageBytes + 1024)
	g := &gateway{w: w, conn: conn}
	var running sync.WaitGroup
	running.Go(func() { g.read(ctx) })
	g.send("", signaling.Hello{ID: "gateway", Version: "test"})
	running.Go(func() { g.beat(ctx) })
	g.stop = sync.OnceFunc(func() {
		cancel()
		_ = conn.CloseNow()
		running.Wait()
		client.CloseIdleConnections()
	})
	w.Cleanup(g.stop)
	return g
}

func (g *gateway) read(ctx context.Context) {
	for {
		if g.frozen.Load() {
			<-ctx.Done()
			return
		}
		_, data, err := g.conn.Read(ctx)
		if err != nil {
			return
		}
		if frame, err := signaling.DecodeFrame(data); err == nil {
			g.mu.Lock()
			g.frames = append(g.frames, frame)
			g.mu.Unlock()
		}
	}
}

func (g *gateway) beat(ctx context.Context) {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if !g.frozen.Load() {
				g.send("", signaling.Heartbeat{})
			}
		}
	}
}

func (g *gateway) send(session string, m signaling.Message) {
	data, err := signaling.EncodeFrame(signaling.Frame{Session: session, Message: m})
	if err == nil {
		_ = g.conn.Write(context.Background(), websocket.MessageText, data)
	}
}

// await returns the first frame not returned before that is for the session and that match likes.
func await[M signaling.Message](g *gateway, session string, match ...func(M) bool) M {
	g.w.Helper()
	var found M
	require.Eventually(g.w, func() bool {
		var ok bool
		found, ok = take(g, session, match...)
		return ok
	}, patience, 5*time.Millisecond, "no %s for session %q", found.Type(), session)
	return found
}

func take[M signaling.Message](g *gateway, session string, match ...func(M) bool) (M, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, frame := range g.frames {
		m, ok := frame.Message.(M)
		if !ok || frame.Session != session || len(match) > 0 && !match[0](m) {
			continue
		}
		g.frames = append(g.frames[:i:i], g.frames[i+1:]...)
		return m, true
	}
	var none M
	return none, false
}

var revision struct {
	sync.Mutex
	last uint64
}

// admit says who is admitted and who waits.
func (g *gateway) admit(admitted, waiting []string) {
	revision.Lock()
	revision.last++
	now := revision.last
	revision.Unlock()
	g.send("", signaling.Membership{EncounterRef: theVisit, Epoch: 1, Revision: now, Admitted: admitted, Waiting: waiting})
}

func attachMessage(participant string, kind signaling.SessionKind) signaling.Attach {
	return signaling.Attach{
		Route: signaling.Route{Leg: 1, Epoch: 1}, EncounterRef: theVisit, Participant: participant, Kind: kind,
		CanPublish: []signaling.Source{signaling.Microphone, signaling.Camera, signaling.Screen}, CanSubscribe: true,
	}
}

func sessionOf(participant string) string { return fmt.Sprintf("session-%s", participant) }
