// Package turnlink is a gateway's side of the control channels to relays (docs/protocol.md, "Gateway and relay"): it
// tells them which credentials are revoked and where media servers are, and knows what they say of themselves.
package turnlink

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/revocation"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/core/signaling/control"
)

const (
	// maxRevocations bounds what a gateway remembers to tell relays that come back: some 8 MB.
	maxRevocations = 1 << 16
	// TendEvery is how often Tend is to be called.
	TendEvery = 5 * time.Second
	// linkIdle is how long a channel that is not wanted is kept.
	linkIdle = time.Minute
	// believed is how long an acknowledgment of a media server's address counts: it is asked for at each Tend.
	believed = 4 * TendEvery
)

// Links is a gateway's channels to relays. Nothing it does waits for a relay.
type Links struct {
	pool   *control.Pool
	region string
	log    zerolog.Logger

	// dropped writes now and then that there were too many.
	dropped rate.Sometimes

	mu      sync.Mutex
	revoked *revocation.List
	relays  map[string]*relay
	// media is where each media server is.
	media map[string][]netip.AddrPort
}

// relay is what a gateway knows of one relay, beside the state of its channel.
type relay struct {
	address string // of its control channel, the last known
	listed  bool   // in the catalog
	own     bool   // of the gateway's region
	// unacknowledged are the revocations it was told of and has not confirmed.
	unacknowledged map[string]struct{}
	// forwards is when it said last that it forwards to an address.
	forwards map[netip.AddrPort]time.Time
}

// New returns links to nobody, for a gateway of a region. Kind, Resolve and Events of the configuration are set here.
func New(config control.PoolConfig, region string) *Links {
	l := &Links{
		region: region, log: config.Log, revoked: revocation.NewList(maxRevocations), relays: make(map[string]*relay),
		dropped: rate.Sometimes{Interval: time.Minute},
	}
	config.Kind, config.Resolve, config.Events = "turn", l.resolve, (*events)(l)
	l.pool = control.NewPool(config)
	return l
}

// SetRelays takes in the relays that the catalog shows. One that left it may still carry calls, and is told as long
// as it answers.
func (l *Links) SetRelays(services []discovery.Service) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.relays {
		r.listed = false
	}
	for _, s := range services {
		address := s.Meta[discovery.MetaControl]
		if address == "" {
			continue
		}
		r := l.relays[s.ID]
		if r == nil {
			r = &relay{unacknowledged: make(map[string]struct{}), forwards: make(map[netip.AddrPort]time.Time)}
			l.relays[s.ID] = r
		}
		r.address, r.listed, r.own = address, true, s.Region == l.region
		if l.wants(r) {
			l.pool.Ensure(s.ID)
		}
	}
}

// wants reports whether a relay is to have a channel: one of the own region, and while there are revocations any. The
// caller holds the lock.
func (l *Links) wants(r *relay) bool { return r.own || l.revoked.Len() > 0 }

// SetMedia takes in where each media server is, and announces it to the relays.
func (l *Links) SetMedia(media map[string][]netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.media = media
	for id := range l.relays {
		l.announce(id)
	}
}

// announce asks a relay whose channel is up to forward to the media servers. The caller holds the lock.
func (l *Links) announce(id string) {
	var addresses []string
	for _, each := range l.media {
		for _, address := range each {
			addresses = append(addresses, address.String())
		}
	}
	slices.Sort(addresses)
	for batch := range slices.Chunk(slices.Compact(addresses), signaling.MaxAllowed) {
		if !l.send(id, signaling.Allow{Addresses: batch}) {
			return
		}
	}
}

// Revoke ends the use of credentials, each an id as in package revocation, at every relay: at once where a channel is
// up, otherwise when it is. until is when the last of them has expired.
func (l *Links) Revoke(until time.Time, credentials ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	entries := make([]revocation.Entry, 0, len(credentials))
	for _, credential := range credentials {
		entry := revocation.Entry{Credential: credential, Until: until}
		news, dropped := l.revoked.Add(entry, now)
		if dropped {
			l.dropped.Do(func() {
				l.log.Error().Int("limit", maxRevocations).Msg("too many revocations, some will not be told to relays that come back")
			})
		}
		if news {
			entries = append(entries, entry)
		}
	}
	for id := range l.relays {
		l.pool.Ensure(id)
		l.tell(id, entries)
	}
}

// tell sends a relay revocations. If its channel is not up it gets them all when it is. The caller holds the lock.
func (l *Links) tell(id string, entries []revocation.Entry) {
	for batch := range slices.Chunk(entries, signaling.MaxRevocations) {
		m := signaling.Revoke{Revocations: make([]signaling.Revocation, 0, len(batch))}
		for _, entry := range batch {
			m.Revocations = append(m.Revocations, signaling.Revocation{Credential: entry.Credential, Until: entry.Until.Unix()})
		}
		if !l.send(id, m) {
			return
		}
		for _, entry := range batch {
			l.relays[id].unacknowledged[entry.Credential] = struct{}{}
		}
	}
}

// send reports whether a channel took a message.
func (l *Links) send(id string, m signaling.Message) bool {
	return l.pool.Send(id, signaling.Frame{Message: m}) == nil
}

// Standing is what the control channel says of a relay. The zero value is what is known of one without.
type Standing struct {
	// Draining says that it takes no new allocations, Dead that it does not answer.
	Draining, Dead bool
	// Forwards says that it has confirmed lately to forward to a media server.
	Forwards bool
}

// Standing tells how a relay stands, and whether it forwards to a media server; one without known addresses is none.
func (l *Links) Standing(id, sfu string) Standing {
	state := l.pool.State(id)
	s := Standing{Draining: state.Phase == control.Up && !state.Draining.IsZero(), Dead: state.Phase == control.Dead}
	l.mu.Lock()
	defer l.mu.Unlock()
	r, addresses := l.relays[id], l.media[sfu]
	if r == nil || state.Phase != control.Up || len(addresses) == 0 {
		return s
	}
	s.Forwards = !slices.ContainsFunc(addresses, func(address netip.AddrPort) bool {
		return time.Since(r.forwards[address]) > believed
	})
	return s
}

// Tend asks the relays again whether they forward to the media servers, and lets go of channels that are not needed.
func (l *Links) Tend() {
	for id := range l.wanted() {
		l.mu.Lock()
		l.announce(id)
		l.mu.Unlock()
	}
	wanted := l.wanted()
	l.pool.Prune(func(id string) bool { return wanted[id] }, linkIdle)
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, r := range l.relays {
		maps.DeleteFunc(r.forwards, func(_ netip.AddrPort, said time.Time) bool { return time.Since(said) > believed })
		if !r.listed && l.pool.State(id).Phase == control.Idle {
			delete(l.relays, id)
		}
	}
}

// wanted are the relays that are to have a channel: those in the catalog, and those that left it as long as they answer.
func (l *Links) wanted() map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	wanted := make(map[string]bool)
	for id, r := range l.relays {
		if l.wants(r) && (r.listed || l.pool.State(id).Phase == control.Up) {
			wanted[id] = true
		}
	}
	return wanted
}

// Phases counts the channels by phase.
func (l *Links) Phases() map[control.Phase]int { return l.pool.Links() }

// Revocations is how many revocations relays are told when they come back.
func (l *Links) Revocations() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.revoked.Len()
}

// Unacknowledged is how many revocations relays were told of and have not confirmed, those of all relays together.
func (l *Links) Unacknowledged() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	open := 0
	for _, r := range l.relays {
		open += len(r.unacknowledged)
	}
	return open
}

// Close ends all channels and waits until nothing runs.
func (l *Links) Close() { l.pool.Close() }

func (l *Links) resolve(_ context.Context, id string) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := l.relays[id]; r != nil {
		return r.address, nil
	}
	return "", fmt.Errorf("%w: relay %s", discovery.ErrNotFound, id)
}

// events is what the pool tells.
type events Links

// LinkUp implements control.Events: a relay that was out of reach, or is another after a restart, hears everything.
func (e *events) LinkUp(id string, _ uint64) {
	l := (*Links)(e)
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.relays[id]
	if r == nil {
		return
	}
	clear(r.unacknowledged)
	clear(r.forwards)
	l.tell(id, l.revoked.Entries(time.Now()))
	l.announce(id)
}

// LinkLost implements control.Events.
func (e *events) LinkLost(id string) {
	l := (*Links)(e)
	l.mu.Lock()
	defer l.mu.Unlock()
	if r := l.relays[id]; r != nil {
		clear(r.unacknowledged)
		clear(r.forwards)
	}
}

// LinkDead implements control.Events.
func (e *events) LinkDead(string) {}

// LinkFrame implements control.Events.
func (e *events) LinkFrame(id string, frame signaling.Frame) {
	l := (*Links)(e)
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.relays[id]
	if r == nil {
		return
	}
	switch m := frame.Message.(type) {
	case signaling.Draining:
		l.log.Info().Str("turn", id).Bool("draining", m.On).Msg("relay drains")
	case signaling.Revoked:
		for _, credential := range m.Credentials {
			delete(r.unacknowledged, credential)
		}
	case signaling.Allowed:
		r.confirm(l.media, m.Addresses, time.Now())
	default:
		l.log.Warn().Str("turn", id).Str("type", m.Type()).Msg("frame of a relay is not for a gateway")
	}
}

// confirm notes which addresses a relay forwards to, of those it was asked about.
func (r *relay) confirm(media map[string][]netip.AddrPort, addresses []string, now time.Time) {
	said := make(map[netip.AddrPort]bool, len(addresses))
	for _, text := range addresses {
		if address, err := netip.ParseAddrPort(text); err == nil {
			said[address] = true
		}
	}
	for _, each := range media {
		for _, address := range each {
			if said[address] {
				r.forwards[address] = now
			}
		}
	}
}
