package gateway_test

import (
	"context"
	"crypto/ed25519"
	"flag"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/core/tenants"
	"github.com/wardline/wardline/edge/gateway"
	"github.com/wardline/wardline/edge/gateway/sfutest"
)

func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "6") // they wait most of the time
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what happens at once on a machine that is not loaded.
const patience = 10 * time.Second

// world is what gateways and SFUs of one test share.
type world struct {
	t       *testing.T
	memory  *discovery.Memory
	store   encounter.Store
	keeper  *secrets.Local
	tenants *tenants.Dir
	gateTLS secrets.CertificateSource
	sfuTLS  secrets.CertificateSource
}

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	keeper, err := secrets.OpenLocal(filepath.Join(t.TempDir(), "keys"))
	require.NoError(t, err)
	memory := discovery.NewMemory()
	w := &world{
		t: t, memory: memory, store: encounter.NewKVStore(memory), keeper: keeper,
		tenants: tenants.OpenDir(t.TempDir()),
	}
	w.gateTLS, err = keeper.Certificates(t.Context(), secrets.GatewayRole, "127.0.0.1")
	require.NoError(t, err)
	w.sfuTLS, err = keeper.Certificates(t.Context(), secrets.SFURole, "127.0.0.1")
	require.NoError(t, err)
	return w
}

// sfu starts a fake SFU and announces it.
func (w *world) sfu(id string) *sfutest.SFU {
	w.t.Helper()
	s := sfutest.Start(w.t, id, w.sfuTLS.Server(secrets.GatewayRole))
	require.NoError(w.t, w.memory.Register(w.t.Context(), s.Service("here")))
	return s
}

// gate is a running gateway.
type gate struct {
	*gateway.Server
	w    *world
	stop func()
}

// gateway starts a gateway; change adjusts its configuration.
func (w *world) gateway(id string, change ...func(*gateway.Config)) *gate {
	w.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(w.t, err)
	log := zerolog.Nop()
	if os.Getenv("TEST_LOG") != "" {
		log = zerolog.New(zerolog.NewTestWriter(w.t)).With().Timestamp().Str("gateway", id).Logger()
	}
	config := gateway.Config{
		ID: id, Region: "here", Version: "test", Listener: listener, PublicURL: "http://" + listener.Addr().String(),
		Store: w.store, KV: w.memory, Catalog: w.memory, Keeper: w.keeper, Tenants: w.tenants,
		ControlTLS: w.gateTLS.Client(secrets.SFURole), RelayTLS: w.gateTLS.Client(secrets.TURNRole),
		Registry: prometheus.NewRegistry(), Log: log,
		Linger: 500 * time.Millisecond, PlaceRetry: 100 * time.Millisecond, MoveSpread: 100 * time.Millisecond,
		SweepEvery: 100 * time.Millisecond,
	}
	for _, c := range change {
		c(&config)
	}
	server, err := gateway.New(config)
	require.NoError(w.t, err)
	require.NoError(w.t, w.memory.Register(w.t.Context(), discovery.Service{
		Name: discovery.GatewayService, ID: id, Node: id, Region: "here", Health: discovery.Passing,
		Meta: map[string]string{discovery.MetaURL: config.PublicURL},
	}))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	g := &gate{Server: server, w: w}
	stopped := false
	g.stop = func() {
		if stopped {
			return
		}
		stopped = true
		started := time.Now()
		cancel()
		require.NoError(w.t, <-done)
		require.Less(w.t, time.Since(started), 5*time.Second, "an orderly end takes less than 5 s")
	}
	w.t.Cleanup(g.stop)
	return g
}

// token mints a join token for the encounter "visit".
func (w *world) token(participant string, role access.Role, changes ...func(*access.Grant)) string {
	w.t.Helper()
	now := time.Now()
	grant := access.Grant{
		Tenant: "clinic", Encounter: "visit", Participant: participant, Role: role,
		Name: "Name of " + participant, Expires: now.Add(time.Hour),
	}
	for _, change := range changes {
		change(&grant)
	}
	token, err := access.Mint(w.t.Context(), w.keeper, grant, now, now)
	require.NoError(w.t, err)
	return token
}

var visit = encounter.Key{Tenant: "clinic", ID: "visit"}

// record waits until the visit's record satisfies a condition.
func (w *world) record(what string, ok func(encounter.Encounter) bool) {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		e, err := w.store.Get(context.Background(), visit)
		return err == nil && ok(e)
	}, patience, 5*time.Millisecond, what)
}

// caller is a client of a test, which reads everything it is sent.
type caller struct {
	t       *testing.T
	conn    *websocket.Conn
	got     chan signaling.Message
	closed  chan websocket.StatusCode
	welcome signaling.Welcome
}

// dial opens a signaling socket.
func (g *gate) dial() *caller {
	g.w.t.Helper()
	conn, _, err := websocket.Dial(g.w.t.Context(), "ws://"+g.Addr().String()+"/v1/signal",
		&websocket.DialOptions{Subprotocols: []string{gateway.Subprotocol}})
	require.NoError(g.w.t, err)
	conn.SetReadLimit(8 << 20)
	c := &caller{
		t: g.w.t, conn: conn, got: make(chan signaling.Message, 4096), closed: make(chan websocket.StatusCode, 1),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			_, data, err := conn.Read(context.Background())
			if err != nil {
				c.closed <- websocket.CloseStatus(err)
				close(c.got)
				return
			}
			if m, err := signaling.Decode(data); err == nil {
				c.got <- m
			}
		}
	}()
	g.w.t.Cleanup(func() {
		_ = conn.CloseNow()
		<-done
	})
	return c
}

// join opens a socket and joins the visit.
func (g *gate) join(participant string, role access.Role) *caller {
	g.w.t.Helper()
	return g.joinWith(signaling.Join{Token: g.w.token(participant, role)})
}

func (g *gate) joinWith(request signaling.Join) *caller {
	g.w.t.Helper()
	c := g.dial()
	c.send(request)
	c.welcome = next[signaling.Welcome](c)
	return c
}

func (c *caller) send(m signaling.Message) {
	c.t.Helper()
	data, err := signaling.Encode(m)
	require.NoError(c.t, err)
	c.raw(data)
}

func (c *caller) raw(data []byte) {
	c.t.Helper()
	require.NoError(c.t, c.conn.Write(c.t.Context(), websocket.MessageText, data))
}

// next returns the next message of a type; others are skipped.
func next[M signaling.Message](c *caller) M {
	c.t.Helper()
	return nextWhere(c, func(M) bool { return true })
}

func nextWhere[M signaling.Message](c *caller, ok func(M) bool) M {
	c.t.Helper()
	var zero M
	late := time.After(patience)
	for {
		select {
		case m, open := <-c.got:
			require.True(c.t, open, "socket closed while waiting for %s", zero.Type())
			if wanted, is := m.(M); is && ok(wanted) {
				return wanted
			}
		case <-late:
			require.FailNow(c.t, "no "+zero.Type()+" came")
		}
	}
}

// end waits for the socket's close code.
func (c *caller) end() websocket.StatusCode {
	c.t.Helper()
	select {
	case code := <-c.closed:
		return code
	case <-time.After(patience):
		require.FailNow(c.t, "the socket stayed open")
		return 0
	}
}

// call brings a provider and an admitted patient into the visit, both with open legs.
func (g *gate) call() (provider, patient *caller, first signaling.Placed) {
	g.w.t.Helper()
	provider, patient = g.join("doctor", access.Provider), g.join("patient", access.Patient)
	provider.send(signaling.Admit{Participant: "patient"})
	first = next[signaling.Placed](provider)
	next[signaling.Placed](patient)
	return provider, patient, first
}

// tenant registers a tenant's key and returns it.
func (w *world) tenant(id string) access.KeySigner {
	w.t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(w.t, err)
	require.NoError(w.t, w.tenants.Register(w.t.Context(), id, []secrets.PublicKey{{ID: id + "-key", Key: public}}))
	return access.KeySigner{ID: id + "-key", Key: private}
}
