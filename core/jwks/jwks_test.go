package jwks

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/secrets"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// regionKV is a region's store, which may be away.
type regionKV struct {
	*discovery.Memory
	mu     sync.Mutex
	away   bool
	writes int
}

func (k *regionKV) set(away bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.away = away
}

func (k *regionKV) check(writes int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.writes += writes
	if k.away {
		return discovery.ErrUnavailable
	}
	return nil
}

func (k *regionKV) Get(ctx context.Context, key string) (discovery.Entry, error) {
	if err := k.check(0); err != nil {
		return discovery.Entry{}, err
	}
	return k.Memory.Get(ctx, key)
}

func (k *regionKV) CompareAndSet(ctx context.Context, key string, value []byte, index uint64) (discovery.Entry, error) {
	if err := k.check(1); err != nil {
		return discovery.Entry{}, err
	}
	return k.Memory.CompareAndSet(ctx, key, value, index)
}

// continent is some regions with a keeper each.
type continent struct {
	t       *testing.T
	stores  map[string]*regionKV
	keepers map[string]*secrets.Local
	listed  []string
}

func newContinent(t *testing.T, regions ...string) *continent {
	t.Helper()
	c := &continent{t: t, stores: make(map[string]*regionKV), keepers: make(map[string]*secrets.Local), listed: regions}
	for _, region := range regions {
		keeper, err := secrets.OpenLocal(filepath.Join(t.TempDir(), "keys"))
		require.NoError(t, err)
		c.keepers[region], c.stores[region] = keeper, &regionKV{Memory: discovery.NewMemory()}
	}
	return c
}

// gateway opens a gateway's union in a region, on a file.
func (c *continent) gateway(region, file string) *Union {
	return Open(Config{
		Region: region, Keeper: c.keepers[region], File: file, Log: zerolog.Nop(),
		Regions: func(context.Context) ([]string, error) { return c.listed, nil },
		KV:      func(region string) KV { return c.stores[region] },
	})
}

func (c *continent) file() string { return filepath.Join(c.t.TempDir(), "data", "jwks.json") }

// mint signs a token in a region.
func (c *continent) mint(region string) string {
	c.t.Helper()
	now := time.Now()
	token, err := access.Mint(c.t.Context(), c.keepers[region], access.Grant{
		Tenant: "clinic", Encounter: "visit", Participant: "p-1", Role: access.Patient, Expires: now.Add(time.Hour),
	}, now, now)
	require.NoError(c.t, err)
	return token
}

// code is why a gateway refuses a token, nothing if it takes it. Its verifier is fresh: it has cached no key.
func (c *continent) code(u *Union, token string) access.Code {
	c.t.Helper()
	_, err := access.NewVerifier(u, nil, time.Now).Join(c.t.Context(), token)
	if code := access.RefusalCode(err); code != "" {
		return code
	}
	require.NoError(c.t, err)
	return ""
}

func TestTokensOfOneRegionVerifyInAnotherWithoutAskingThere(t *testing.T) {
	c := newContinent(t, "east", "west")
	east, west := c.gateway("east", c.file()), c.gateway("west", c.file())
	token := c.mint("west")
	require.Equal(t, access.CodeUnknownKey, c.code(east, token))
	west.Sync(t.Context())
	east.Sync(t.Context())
	c.stores["west"].set(true)
	require.Empty(t, c.code(east, token))
	require.Empty(t, c.code(east, c.mint("east")))

	for range 2 { // the token's key is the previous one, then none any more
		c.stores["west"].set(true)
		require.Empty(t, c.code(east, token))
		require.NoError(t, c.keepers["west"].RotateTokenKey(t.Context()))
		west.Sync(t.Context())
		east.Sync(t.Context())
		require.Empty(t, c.code(east, token), "the last good keys stay while west is away")
		c.stores["west"].set(false)
		west.Sync(t.Context())
		east.Sync(t.Context())
		require.Empty(t, c.code(east, c.mint("west")), "the new key is known")
	}
	require.Equal(t, access.CodeUnknownKey, c.code(east, token), "a key that its region withdrew disappears")
}

func TestTheUnionOutlivesARestart(t *testing.T) {
	c := newContinent(t, "east", "west")
	file := c.file()
	c.gateway("west", c.file()).Sync(t.Context())
	c.gateway("east", file).Sync(t.Context())
	for _, store := range c.stores {
		store.set(true)
	}
	again := c.gateway("east", file)
	again.Sync(t.Context())
	require.Empty(t, c.code(again, c.mint("west")))
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NotContains(t, string(content), `"d"`, "public keys only")

	for _, damage := range []string{"", "{", `{"west":{}}`, `{"../west":{"keys":[]}}`, `[]`} {
		require.NoError(t, os.WriteFile(file, []byte(damage), 0o600))
		damaged := c.gateway("east", file)
		damaged.Sync(t.Context())
		require.Equal(t, access.CodeUnknownKey, c.code(damaged, c.mint("west")), damage)
		require.Empty(t, c.code(damaged, c.mint("east")), damage)
	}
}

func TestAFileThatCouldNotBeWrittenIsWrittenLater(t *testing.T) {
	c := newContinent(t, "east", "west")
	file := c.file()
	east, west := c.gateway("east", file), c.gateway("west", c.file())
	west.Sync(t.Context())
	east.Sync(t.Context())
	withdrawn := c.mint("west")
	for range 2 { // the key in use, and the one that verified before
		require.NoError(t, c.keepers["west"].RotateTokenKey(t.Context()))
	}
	west.Sync(t.Context())

	folder := filepath.Dir(file)
	require.NoError(t, os.Rename(folder, folder+".away"))
	require.NoError(t, os.WriteFile(folder, nil, 0o600)) // no file can be in it, as on a disk that is full
	east.Sync(t.Context())
	require.Equal(t, access.CodeUnknownKey, c.code(east, withdrawn))
	require.NoError(t, os.Remove(folder))
	require.NoError(t, os.Rename(folder+".away", folder))
	east.Sync(t.Context())
	c.stores["west"].set(true)
	require.Equal(t, access.CodeUnknownKey, c.code(c.gateway("east", file), withdrawn), "a restart must not bring a key back")
}

func TestKeysArePublishedOnceAndByThoseWhoKnowNews(t *testing.T) {
	c := newContinent(t, "east")
	one, two := c.gateway("east", c.file()), c.gateway("east", c.file())
	for range 3 {
		one.Sync(t.Context())
		two.Sync(t.Context())
	}
	require.Equal(t, 1, c.stores["east"].writes)

	// One lost its keeper: what it remembers is no reason to take back what the other publishes.
	lost := &frozen{}
	lost.keys, _ = c.keepers["east"].PublicKeys(t.Context())
	one.Keeper = lost
	require.NoError(t, c.keepers["east"].RotateTokenKey(t.Context()))
	for range 3 {
		two.Sync(t.Context())
		one.Sync(t.Context())
	}
	require.Equal(t, 2, c.stores["east"].writes)
	entry, err := c.stores["east"].Memory.Get(t.Context(), keyPrefix+"east")
	require.NoError(t, err)
	published, err := parse(entry.Value)
	require.NoError(t, err)
	newest, err := c.keepers["east"].PublicKeys(t.Context())
	require.NoError(t, err)
	require.Equal(t, newest, published)
}

// frozen is a keeper whose answer never changes.
type frozen struct{ keys []secrets.PublicKey }

func (f *frozen) PublicKeys(context.Context) ([]secrets.PublicKey, error) { return f.keys, nil }

// published is what the region's store has.
func (c *continent) published(region string) []secrets.PublicKey {
	c.t.Helper()
	entry, err := c.stores[region].Memory.Get(c.t.Context(), keyPrefix+region)
	require.NoError(c.t, err)
	keys, err := parse(entry.Value)
	require.NoError(c.t, err)
	return keys
}

func TestKeysArePublishedAgainWhenTheStoreLostThem(t *testing.T) {
	c := newContinent(t, "east")
	behind, gateway := c.gateway("east", c.file()), c.gateway("east", c.file())
	behind.Sync(t.Context())
	before := c.published("east")
	behind.Keeper = &frozen{before}
	require.NoError(t, c.keepers["east"].RotateTokenKey(t.Context()))
	gateway.Sync(t.Context())
	behind.Sync(t.Context())
	newest, err := c.keepers["east"].PublicKeys(t.Context())
	require.NoError(t, err)
	require.Equal(t, newest, c.published("east"))

	c.stores["east"].Memory = discovery.NewMemory()
	gateway.Sync(t.Context())
	require.Equal(t, newest, c.published("east"), "an empty store")

	require.NoError(t, c.keepers["east"].RotateTokenKey(t.Context()))
	gateway.Sync(t.Context())
	behind.Sync(t.Context())
	restored := discovery.NewMemory()
	document, err := access.JWKS(before)
	require.NoError(t, err)
	_, err = restored.CompareAndSet(t.Context(), keyPrefix+"east", document, 0)
	require.NoError(t, err)
	c.stores["east"].Memory = restored
	newest, err = c.keepers["east"].PublicKeys(t.Context())
	require.NoError(t, err)
	for range 2 {
		behind.Sync(t.Context())
		gateway.Sync(t.Context())
	}
	require.Equal(t, newest, c.published("east"), "a snapshot of before")
}

func TestPublishingIsTriedAgain(t *testing.T) {
	c := newContinent(t, "east")
	gateway := c.gateway("east", c.file())
	c.stores["east"].set(true)
	gateway.Sync(t.Context())
	c.stores["east"].set(false)
	gateway.Sync(t.Context())
	_, err := c.stores["east"].Memory.Get(t.Context(), keyPrefix+"east")
	require.NoError(t, err)
}

func TestWhatNoRegionPublishesIsNotTaken(t *testing.T) {
	c := newContinent(t, "east", "west")
	east := c.gateway("east", c.file())
	c.gateway("west", c.file()).Sync(t.Context())
	east.Sync(t.Context())
	token := c.mint("west")
	own, err := c.keepers["east"].PublicKeys(t.Context())
	require.NoError(t, err)
	foreign, err := c.keepers["west"].PublicKeys(t.Context())
	require.NoError(t, err)
	posing, err := access.JWKS([]secrets.PublicKey{{ID: own[0].ID, Key: foreign[0].Key}})
	require.NoError(t, err)
	for name, value := range map[string][]byte{"damaged": []byte("{"), "empty": nil, "another key's name": posing} {
		entry, err := c.stores["west"].Memory.Get(t.Context(), keyPrefix+"west")
		require.NoError(t, err)
		_, err = c.stores["west"].Memory.CompareAndSet(t.Context(), entry.Key, value, entry.Index)
		require.NoError(t, err)
		east.Sync(t.Context())
		require.Empty(t, c.code(east, token), "%s: the last good keys stay", name)
		require.Empty(t, c.code(east, c.mint("east")), name)
	}
	entry, err := c.stores["west"].Memory.Get(t.Context(), keyPrefix+"west")
	require.NoError(t, err)
	require.NoError(t, c.stores["west"].Delete(t.Context(), entry.Key, entry.Index))
	east.Sync(t.Context())
	require.Equal(t, access.CodeUnknownKey, c.code(east, token), "that there are none is an answer")
}

func TestARegionThatLeftIsForgottenWhenItsTokensHaveEnded(t *testing.T) {
	c := newContinent(t, "east", "west")
	now := time.Now()
	east := c.gateway("east", c.file())
	east.now = func() time.Time { return now }
	c.gateway("west", c.file()).Sync(t.Context())
	east.Sync(t.Context())
	token := c.mint("west")

	c.stores["west"].set(true)
	now = now.Add(10 * forgetAfter)
	east.Sync(t.Context())
	require.Empty(t, c.code(east, token), "it is only away")
	c.listed = []string{"east"}
	for range 2 {
		east.Sync(t.Context())
		require.Empty(t, c.code(east, token))
		now = now.Add(forgetAfter - time.Second)
		c.listed = []string{"east", "west"} // and back in between
		east.Sync(t.Context())
		c.listed = []string{"east"}
	}
	east.Sync(t.Context())
	now = now.Add(forgetAfter)
	east.Sync(t.Context())
	require.Equal(t, access.CodeUnknownKey, c.code(east, token))
	require.Empty(t, c.code(east, c.mint("east")), "the own region's stay")
	held, _, err := readFile(east.File)
	require.NoError(t, err)
	require.Len(t, held, 1)
}

func TestARegionThatLeftIsForgottenByGatewaysThatRestart(t *testing.T) {
	c := newContinent(t, "east", "west")
	now, file := time.Now(), c.file()
	c.gateway("west", c.file()).Sync(t.Context())
	c.gateway("east", file).Sync(t.Context())
	token := c.mint("west")
	c.listed = []string{"east"}
	for _, want := range []access.Code{"", "", access.CodeUnknownKey} {
		east := c.gateway("east", file)
		east.now = func() time.Time { return now }
		east.Sync(t.Context())
		require.Equal(t, want, c.code(east, token))
		now = now.Add(forgetAfter / 2)
	}
}

func TestNoKeysAtAllIsWhatTheKeeperSays(t *testing.T) {
	c := newContinent(t, "east")
	gateway := c.gateway("east", c.file())
	gateway.Keeper = failing{}
	_, err := gateway.PublicKeys(t.Context())
	require.ErrorIs(t, err, secrets.ErrUnavailable)
}

type failing struct{}

func (failing) PublicKeys(context.Context) ([]secrets.PublicKey, error) {
	return nil, secrets.ErrUnavailable
}

func TestRunSyncsAtOnceAndEndsWithItsContext(t *testing.T) {
	c := newContinent(t, "east")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); c.gateway("east", c.file()).Run(ctx) }()
	require.Eventually(t, func() bool {
		_, err := c.stores["east"].Memory.Get(t.Context(), keyPrefix+"east")
		return err == nil
	}, 10*time.Second, time.Millisecond)
	cancel()
	<-done
}

func FuzzFile(f *testing.F) {
	f.Add([]byte(`{"west":{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",` +
		`"kid":"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"}]}}`))
	f.Add([]byte(`{"west":{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",` +
		`"kid":"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"}],"unlisted":1700000000}}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		held, unlisted, err := parseFile(content)
		if err != nil {
			return
		}
		path := filepath.Join(t.TempDir(), "jwks.json")
		require.NoError(t, writeFile(path, held, unlisted))
		again, stillUnlisted, err := readFile(path)
		require.NoError(t, err)
		require.Equal(t, held, again)
		require.Equal(t, unlisted, stillUnlisted)
	})
}
