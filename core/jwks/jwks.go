// Package jwks is the union of all regions' public token keys, so that what one region's keeper signed is verified in
// every other without asking there.
//
// Each gateway publishes the keys of its own region's keeper in that region's key-value store, reads those of the others
// in theirs, and keeps the last good answer of each, in memory and in a file.
package jwks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/secrets"
)

const (
	// keyPrefix is followed by the region's name.
	keyPrefix = "wardline/jwks/"
	// syncEvery is how often the regions are looked at: well within the time for which a keeper publishes a new key
	// before it is signed with.
	syncEvery = 10 * time.Second
	// forgetAfter is how long the keys of a region that is federated no more are kept: as long as the last token it
	// signed may be good.
	forgetAfter = access.MaxTokenTTL
	// healAfter is how many looks other keys than the own region's may stay published, if its keeper answers: it knows of its
	// own rotations sooner.
	healAfter = 3
	// readyWithin bounds how long the keeper may take to say that it is ready.
	readyWithin = 2 * time.Second
	// maxRegions bounds how many regions are read.
	maxRegions = 64
)

// KV is what Union needs of a region's key-value store; discovery.KV has it.
type KV interface {
	Get(ctx context.Context, key string) (discovery.Entry, error)
	CompareAndSet(ctx context.Context, key string, value []byte, index uint64) (discovery.Entry, error)
}

// Config is what a Union needs.
type Config struct {
	// Region is the own one.
	Region string
	// Keeper is the own region's.
	Keeper access.KeySource
	// Ready says why the keeper may not know its newest keys, as secrets.Vault has it; nil where nobody can tell.
	Ready func(ctx context.Context) error
	// Regions lists the federated regions, the own one included.
	Regions func(ctx context.Context) ([]string, error)
	// KV returns a region's own key-value store.
	KV func(region string) KV
	// File keeps the union over a restart; it holds public keys only.
	File string
	Log  zerolog.Logger
}

// Union is a source of the keys of all regions. Safe for concurrent use.
type Union struct {
	Config
	now func() time.Time

	mu sync.Mutex
	// held are the last good keys of each region.
	held map[string][]secrets.PublicKey
	// troubles are why regions could not be read last, told once each.
	troubles map[string]string
	// unlisted is since when a region with keys is federated no more; the file has it too, since gateways restart more often.
	unlisted map[string]time.Time
	// unsaved says that the file lacks some of it, unwritable that it could not be written last.
	unsaved, unwritable bool

	// published is what the own region's keeper had when that was last seen to be published, and at the index it was seen
	// under, 0 once somebody else has published other keys since. Only Run uses them.
	published []byte
	at        uint64
	// strange is how many looks in a row found other keys published than those of a keeper that answers.
	strange int
}

var _ access.KeySource = (*Union)(nil)

// Open reads the file, if there is one; one that cannot be read is as good as none.
func Open(config Config) *Union {
	u := &Union{
		Config: config, now: time.Now,
		held: make(map[string][]secrets.PublicKey), troubles: make(map[string]string), unlisted: make(map[string]time.Time),
	}
	held, unlisted, err := readFile(config.File)
	if err != nil {
		config.Log.Warn().Err(err).Msg("kept token keys of other regions not read, they are asked for again")
		return u
	}
	u.held, u.unlisted = held, unlisted
	return u
}

// Run publishes and reads until ctx ends.
func (u *Union) Run(ctx context.Context) {
	tick := time.NewTicker(syncEvery)
	defer tick.Stop()
	for {
		u.Sync(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Sync publishes the own keys, reads those of the other regions once and writes the file. It takes as long as the slowest
// region that does not answer.
func (u *Union) Sync(ctx context.Context) {
	defer u.save()
	u.note(u.Region, u.publish(ctx))
	regions, err := u.Regions(ctx)
	if err != nil {
		return // which ones there are is as unknown as before, and the store of the own says so elsewhere
	}
	regions = slices.DeleteFunc(slices.Clone(regions), func(region string) bool { return region == u.Region })
	var group sync.WaitGroup
	for _, region := range regions[:min(len(regions), maxRegions)] {
		group.Go(func() { u.note(region, u.read(ctx, region)) })
	}
	group.Wait()
	u.forget(regions)
}

// PublicKeys implements access.KeySource: the own keys first, then those of the other regions by name.
func (u *Union) PublicKeys(ctx context.Context) ([]secrets.PublicKey, error) {
	own, err := u.Keeper.PublicKeys(ctx)
	if err == nil {
		u.hold(u.Region, own)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	all := slices.Clone(u.held[u.Region])
	for _, region := range slices.Sorted(maps.Keys(u.held)) {
		if region != u.Region {
			all = append(all, u.held[region]...)
		}
	}
	if len(all) == 0 && err != nil {
		return nil, err
	}
	return all, nil
}

// publish writes the own keys where they have changed, or where the store has lost them. Of two gateways that know different
// ones, one that lost its keeper has the older: so each writes what is news to itself, and not whatever differs from the other's.
// Keys that stay although the keeper answers are none of this region's: whoever wrote them could sign in its name.
func (u *Union) publish(ctx context.Context) error {
	keys, err := u.Keeper.PublicKeys(ctx)
	if err != nil {
		return fmt.Errorf("own token keys: %w", err)
	}
	u.hold(u.Region, keys)
	document, err := access.JWKS(keys)
	if err != nil {
		return err
	}
	kv, path := u.KV(u.Region), keyPrefix+u.Region
	entry, err := kv.Get(ctx, path)
	gone := errors.Is(err, discovery.ErrNotFound)
	if err != nil && !gone {
		return fmt.Errorf("publish token keys: %w", err)
	}
	// An index goes back where the store was restored from a time before.
	news := !bytes.Equal(document, u.published) || gone || entry.Index < u.at
	switch {
	case bytes.Equal(entry.Value, document):
		u.published, u.at, u.strange = document, entry.Index, 0
		return nil
	case !news && !u.overdue(ctx):
		u.at = 0
		return nil
	case !news:
		u.Log.Warn().Msg("published token keys are not those of this region's keeper, and are replaced")
	}
	entry, err = kv.CompareAndSet(ctx, path, document, entry.Index)
	if errors.Is(err, discovery.ErrConflict) {
		return nil // another gateway was quicker; the next look says whether with the same
	}
	if err != nil {
		return fmt.Errorf("publish token keys: %w", err)
	}
	u.Log.Info().Int("keys", len(keys)).Msg("token keys of this region published")
	u.published, u.at, u.strange = document, entry.Index, 0
	return nil
}

// overdue reports whether other keys than the keeper's have been published for longer than it takes to hear of a rotation.
func (u *Union) overdue(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	if u.Ready == nil || u.Ready(ctx) != nil {
		u.strange = 0
		return false
	}
	u.strange++
	return u.strange >= healAfter
}

// read takes in what a region has published. That it has published nothing is an answer too.
func (u *Union) read(ctx context.Context, region string) error {
	entry, err := u.KV(region).Get(ctx, keyPrefix+region)
	if errors.Is(err, discovery.ErrNotFound) {
		u.hold(region, nil)
		return nil
	}
	if err != nil {
		return err
	}
	keys, err := parse(entry.Value)
	if err != nil {
		return err
	}
	u.hold(region, keys)
	return nil
}

// parse reads a region's keys. Each is called by its thumbprint, so that none can pass as another region's.
func parse(document []byte) ([]secrets.PublicKey, error) {
	keys, err := access.ParseJWKS(document)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if key.ID != secrets.Thumbprint(key.Key) {
			return nil, fmt.Errorf("key set: kid %q is not the key's thumbprint", key.ID)
		}
	}
	return keys, nil
}

// hold replaces the keys of a region.
func (u *Union) hold(region string, keys []secrets.PublicKey) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if slices.EqualFunc(u.held[region], keys, samePublicKey) {
		return
	}
	u.held[region] = keys
	if len(keys) == 0 {
		delete(u.held, region)
	}
	if region != u.Region {
		u.Log.Info().Str("of", region).Int("keys", len(keys)).Msg("token keys of another region changed")
	}
	u.unsaved = true
}

func samePublicKey(a, b secrets.PublicKey) bool { return a.ID == b.ID && a.Key.Equal(b.Key) }

// save writes the file where it lacks something, again with each Sync until it can: from a file of before a restart would
// take in keys that were withdrawn since. Who verifies tokens must not wait for a disk, so no lock is held meanwhile.
func (u *Union) save() {
	u.mu.Lock()
	held, unlisted, unsaved := maps.Clone(u.held), maps.Clone(u.unlisted), u.unsaved
	u.unsaved = false
	u.mu.Unlock()
	if !unsaved {
		return
	}
	err := writeFile(u.File, held, unlisted)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.unsaved = u.unsaved || err != nil
	switch before := u.unwritable; {
	case err != nil && !before:
		u.Log.Warn().Err(err).Msg("token keys of other regions not kept on disk, trying again")
	case err == nil && before:
		u.Log.Info().Msg("token keys of other regions kept on disk again")
	}
	u.unwritable = err != nil
}

// note tells the log when a region cannot be read, and when it can again.
func (u *Union) note(region string, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	text := ""
	if err != nil {
		text = err.Error()
	}
	before := u.troubles[region]
	u.troubles[region] = text
	switch {
	case text != "" && before == "":
		u.Log.Warn().Err(err).Str("of", region).Msg("token keys not up to date, the last ones stay good")
	case text == "" && before != "":
		u.Log.Info().Str("of", region).Msg("token keys up to date again")
	}
}

// forget drops the keys of regions that have been out of the federation for long enough: others are only away.
func (u *Union) forget(regions []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.now()
	for region := range u.held {
		since, left := u.unlisted[region]
		listed := region == u.Region || slices.Contains(regions, region)
		switch {
		case listed && left:
			delete(u.unlisted, region)
		case !listed && !left:
			u.unlisted[region] = now
		case !listed && now.Sub(since) >= forgetAfter:
			u.Log.Info().Str("of", region).Msg("region is federated no more, its token keys are forgotten")
			delete(u.held, region)
			delete(u.unlisted, region)
		default:
			continue
		}
		u.unsaved = true
	}
}
