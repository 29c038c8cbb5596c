package neighbors

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/secrets"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	patience = 10 * time.Second
	tick     = 5 * time.Millisecond
)

// pair is a book in east and a gateway in west, with secrets of their own and certificates of one root.
type pair struct {
	t       *testing.T
	root    *secrets.Local
	west    *fickle
	catalog *discovery.Memory
	book    *Book
	changed atomic.Int32
	asked   atomic.Int32
}

// fickle is a keeper that may be away.
type fickle struct {
	*secrets.Local
	away atomic.Bool
}

func (f *fickle) Shared(ctx context.Context, name string) (secrets.Shared, error) {
	if f.away.Load() {
		return secrets.Shared{}, secrets.ErrUnavailable
	}
	return f.Local.Shared(ctx, name)
}

func openKeeper(t *testing.T) *secrets.Local {
	t.Helper()
	keeper, err := secrets.OpenLocal(filepath.Join(t.TempDir(), "keys"))
	require.NoError(t, err)
	return keeper
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{t: t, root: openKeeper(t), west: &fickle{Local: openKeeper(t)}, catalog: discovery.NewMemory()}
	p.book = New(Config{
		Region: "east", TLS: p.certificates(secrets.GatewayRole).Client(secrets.GatewayRole), Log: zerolog.Nop(),
		Changed: func() { p.changed.Add(1) },
	})
	return p
}

func (p *pair) certificates(role string) secrets.CertificateSource {
	p.t.Helper()
	source, err := p.root.Certificates(p.t.Context(), role)
	require.NoError(p.t, err)
	return source
}

// serve runs a gateway of west and puts it into the catalog.
func (p *pair) serve(id, role string) *http.Server {
	p.t.Helper()
	handler := Handler(p.west, zerolog.Nop())
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked.Add(1)
		handler.ServeHTTP(w, r)
	}))
	server.TLS = p.certificates(role).Server(secrets.GatewayRole)
	server.Config.ErrorLog = nil
	server.StartTLS()
	p.t.Cleanup(server.Close)
	p.announce(id, "west", server.Listener.Addr().String())
	return server.Config
}

func (p *pair) announce(id, region, internal string) {
	p.t.Helper()
	require.NoError(p.t, p.catalog.Register(p.t.Context(), discovery.Service{
		Name: discovery.GatewayService, ID: id, Node: id, Region: region, Health: discovery.Passing,
		Meta: map[string]string{discovery.MetaInternal: internal},
	}))
}

// follow runs the book until the test ends.
func (p *pair) follow() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); p.book.Follow(ctx, p.catalog) }()
	p.t.Cleanup(func() { cancel(); <-done })
}

// eventually waits for a credential that satisfies a condition.
func (p *pair) eventually(id string, ok func(Credential) bool) (found Credential) {
	p.t.Helper()
	require.Eventually(p.t, func() bool {
		var has bool
		found, has = p.book.Credential("west", id)
		return has && ok(found)
	}, patience, tick)
	return found
}

func of(id string) func(Credential) bool {
	return func(c Credential) bool { return strings.HasSuffix(c.Username, ":"+id) }
}

// requireWorks checks a credential as a relay of west does.
func (p *pair) requireWorks(c Credential) {
	p.t.Helper()
	shared, err := p.west.Local.Shared(p.t.Context(), secrets.TURNSecret)
	require.NoError(p.t, err)
	good, err := secrets.TURNPassword(shared, c.Username, time.Now())
	require.NoError(p.t, err)
	require.Contains(p.t, good, c.Password)
}

func TestCredentialsForRelaysOfAnotherRegion(t *testing.T) {
	p := newPair(t)
	p.serve("gw-1", secrets.GatewayRole)
	p.announce("gw-own", "east", "127.0.0.1:1")
	p.follow()
	standby := p.eventually("visit-1", func(Credential) bool { return true })
	require.Contains(t, standby.Username, ":standby-", "at once, even to who was not announced")
	p.requireWorks(standby)

	p.book.Want("visit-1")
	own := p.eventually("visit-1", of("visit-1"))
	p.requireWorks(own)
	require.WithinDuration(t, time.Now().Add(CredentialTTL), own.Expires, time.Minute)
	asked := p.asked.Load()
	p.book.Want("visit-1")
	again := p.eventually("visit-1", of("visit-1"))
	require.Equal(t, own, again)
	require.Equal(t, asked, p.asked.Load(), "one that is good for long is not asked for again")
	_, found := p.book.Credential("east", "visit-1")
	require.False(t, found, "the own region's are not its business")
	_, found = p.book.Credential("nowhere", "visit-1")
	require.False(t, found)
}

func TestALostRegionStopsNoJoin(t *testing.T) {
	p := newPair(t)
	server := p.serve("gw-1", secrets.GatewayRole)
	p.follow()
	p.eventually("standby", func(Credential) bool { return true })
	p.book.Want("early")
	early := p.eventually("early", of("early"))
	require.NoError(t, server.Close())

	seen := make(map[string]bool)
	for i := range 2 * standbys {
		id := fmt.Sprint("late-", i)
		p.book.Want(id)
		began := time.Now()
		late, found := p.book.Credential("west", id)
		require.Less(t, time.Since(began), time.Second, "nobody waits for it")
		require.True(t, found)
		p.requireWorks(late)
		seen[late.Username] = true
	}
	require.Len(t, seen, standbys, "they are spread, since a relay limits each")
	still, found := p.book.Credential("west", "early")
	require.True(t, found)
	require.Equal(t, early, still)

	p.book.mu.Lock()
	p.book.now = func() time.Time { return early.Expires.Add(-leftAtLeast) }
	p.book.mu.Unlock()
	_, found = p.book.Credential("west", "early")
	require.False(t, found, "what is about to end is not handed out")
}

func addressOf(t *testing.T, catalog *discovery.Memory, id string) string {
	t.Helper()
	services, err := catalog.Services(t.Context(), discovery.GatewayService)
	require.NoError(t, err)
	for _, s := range services {
		if s.ID == id {
			return s.Meta[discovery.MetaInternal]
		}
	}
	t.Fatalf("no gateway %s", id)
	return ""
}

// openKeeperTLS is a gateway's certificate of another root.
func openKeeperTLS(t *testing.T) *tls.Config {
	t.Helper()
	source, err := openKeeper(t).Certificates(t.Context(), secrets.GatewayRole)
	require.NoError(t, err)
	return source.Client(secrets.GatewayRole)
}

func TestOnlyGatewaysAreAnsweredAndBelieved(t *testing.T) {
	p := newPair(t)
	p.serve("impostor", secrets.SFURole)
	_, err := p.book.exchange(t.Context(), addressOf(t, p.catalog, "impostor"), nil)
	require.ErrorContains(t, err, "must be for a role of [\"gateway\"]")

	p.serve("real", secrets.GatewayRole)
	address := addressOf(t, p.catalog, "real")
	_, err = p.book.exchange(t.Context(), address, nil)
	require.NoError(t, err)
	asked := p.asked.Load()
	for _, role := range []string{secrets.SFURole, secrets.TURNRole} {
		stranger := New(Config{Region: "east", TLS: p.certificates(role).Client(secrets.GatewayRole), Log: zerolog.Nop()})
		_, err := stranger.exchange(t.Context(), address, nil)
		require.Error(t, err, role)
		stranger.http.CloseIdleConnections()
	}
	nobody := New(Config{Region: "east", TLS: openKeeperTLS(t), Log: zerolog.Nop()})
	_, err = nobody.exchange(t.Context(), address, nil)
	require.Error(t, err, "of another root")
	require.Equal(t, asked, p.asked.Load())
	p.book.http.CloseIdleConnections()
}

func TestARequestIsHeldToItsLimits(t *testing.T) {
	p := newPair(t)
	handler := Handler(p.west, zerolog.Nop())
	ask := func(method, body string) int {
		answered := httptest.NewRecorder()
		handler.ServeHTTP(answered, httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body)))
		return answered.Code
	}
	ids := func(n int, id string) string {
		text, err := json.Marshal(request{strings.Split(strings.Repeat(id+",", n-1)+id, ",")})
		require.NoError(t, err)
		return string(text)
	}
	require.Equal(t, http.StatusOK, ask(http.MethodPost, ids(maxIDs, "id")))
	require.Equal(t, http.StatusOK, ask(http.MethodPost, `{}`))
	for _, bad := range []string{
		"", "[]", `{"ids":[1]}`, `{"ids":["a:b"]}`, `{"ids":[""]}`, ids(maxIDs+1, "id"), ids(1, strings.Repeat("i", 65)),
		`{"ids":["` + strings.Repeat("i", maxRequestBytes) + `"]}`,
	} {
		require.Equal(t, http.StatusBadRequest, ask(http.MethodPost, bad), "%.80s", bad)
	}
	require.Equal(t, http.StatusMethodNotAllowed, ask(http.MethodGet, ""))
	p.west.away.Store(true)
	require.Equal(t, http.StatusServiceUnavailable, ask(http.MethodPost, `{}`))
}

func TestManyAtOnceAreAskedForTogether(t *testing.T) {
	p := newPair(t)
	p.serve("gw-1", secrets.GatewayRole)
	p.follow()
	p.eventually("standby", func(Credential) bool { return true })
	asked := p.asked.Load()
	const people = 5 * maxIDs
	for i := range people {
		p.book.Want(fmt.Sprint("p-", i))
	}
	for i := range people {
		p.eventually(fmt.Sprint("p-", i), of(fmt.Sprint("p-", i)))
	}
	require.LessOrEqual(t, p.asked.Load()-asked, int32(people/maxIDs+5))
	for i := range 2 * maxWanted {
		p.book.Want(fmt.Sprint("flood-", i))
	}
	p.book.mu.Lock()
	defer p.book.mu.Unlock()
	require.LessOrEqual(t, len(p.book.neighbors["west"].wanted), maxWanted)
}

func TestAnotherGatewayIsAskedWhereOneIsGone(t *testing.T) {
	p := newPair(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	p.announce("gw-0", "west", listener.Addr().String())
	p.serve("gw-1", secrets.GatewayRole)
	p.follow()
	p.requireWorks(p.eventually("anybody", func(Credential) bool { return true }))
}

func TestRosterSecretsOfOtherRegions(t *testing.T) {
	p := newPair(t)
	p.serve("gw-1", secrets.GatewayRole)
	sealing, err := p.west.Local.Shared(t.Context(), secrets.RosterSecret)
	require.NoError(t, err)
	p.follow()
	require.Eventually(t, func() bool { return len(p.book.Rosters()) == 1 }, patience, tick)
	require.Equal(t, sealing, p.book.Rosters()[0])
	require.Eventually(t, func() bool { return p.changed.Load() == 1 }, patience, tick)

	require.NoError(t, p.west.RotateShared(t.Context(), secrets.RosterSecret))
	p.book.Want("anything") // the next question, which would come by itself
	require.Eventually(t, func() bool { return p.changed.Load() == 2 }, patience, tick)
	require.Equal(t, sealing.Current, p.book.Rosters()[0].Previous)
}

func TestGatewaysThatServeAreAskedFirst(t *testing.T) {
	b := New(Config{Region: "east"})
	at := func(id string, change func(*discovery.Service)) discovery.Service {
		s := discovery.Service{ID: id, Region: "west", Meta: map[string]string{discovery.MetaInternal: id + ":1"}}
		change(&s)
		return s
	}
	fresh := b.set([]discovery.Service{
		at("critical", func(s *discovery.Service) { s.Health = discovery.Critical }),
		at("drains", func(s *discovery.Service) { s.Maintenance = true }),
		at("serves", func(*discovery.Service) {}),
		at("silent", func(s *discovery.Service) { s.Meta = nil }),
		at("own", func(s *discovery.Service) { s.Region = "east" }),
	})
	require.Len(t, fresh, 1)
	require.Equal(t, []string{"serves:1", "drains:1", "critical:1"}, b.gatewaysOf(fresh[0]))
	require.Empty(t, b.set(nil), "a region that vanished keeps its addresses")
	require.Len(t, b.gatewaysOf(fresh[0]), 3)
}

func TestNothingFollowsARedirect(t *testing.T) {
	p := newPair(t)
	var strayed sync.Once
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { strayed.Do(func() { t.Error("followed") }) }))
	defer target.Close()
	server := httptest.NewUnstartedServer(http.RedirectHandler(target.URL, http.StatusTemporaryRedirect))
	server.TLS = p.certificates(secrets.GatewayRole).Server(secrets.GatewayRole)
	server.StartTLS()
	defer server.Close()
	_, err := p.book.exchange(t.Context(), server.Listener.Addr().String(), nil)
	require.ErrorContains(t, err, "307")
	p.book.http.CloseIdleConnections()
}

func FuzzAnswer(f *testing.F) {
	now := time.Unix(1<<30, 0)
	f.Add([]byte(`{"credentials":[{"username":"1:a","password":"p"}],"expires":"2040-01-01T00:00:00Z","roster":{"Current":"c2VjcmV0"}}`))
	f.Add([]byte(`{"credentials":[],"expires":"2040-01-01T00:00:00Z","roster":{"Current":"c2VjcmV0"}}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		told, err := parseAnswer(content, []string{"a"}, now)
		if err != nil {
			require.Equal(t, errAnswer, err)
			return
		}
		require.Len(t, told.Credentials, 1)
		require.True(t, told.Expires.After(now))
	})
}
