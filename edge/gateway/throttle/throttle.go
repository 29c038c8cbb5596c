// Package throttle knows the addresses that keep presenting tokens which are refused. Good tokens pass
// whatever their address has done, so that a hospital behind one address can work; see access.WithMetIssuers
// for what an address that failed too often may still cost.
package throttle

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Config says how many failures are too many; zero values mean the defaults.
type Config struct {
	// Burst is how many failures an address may have at once (default 10).
	Burst int
	// Every is how long it takes to forgive one failure (default 6 s).
	Every time.Duration
	// MaxAddresses bounds what is remembered (default 10,000); the address silent longest is forgotten first.
	MaxAddresses int
	// Now is the clock (default time.Now).
	Now func() time.Time
}

// Limiter counts failures per IPv4 address and per IPv6 /64, what one subscriber usually has. It is safe
// for concurrent use.
type Limiter struct {
	config Config

	mu      sync.Mutex
	recent  *list.List // of *entry, the one that failed last in front
	entries map[netip.Prefix]*list.Element
}

type entry struct {
	prefix netip.Prefix
	bucket *rate.Limiter
}

// New returns a limiter that has seen no failure.
func New(c Config) *Limiter {
	if c.Burst <= 0 {
		c.Burst = 10
	}
	if c.Every <= 0 {
		c.Every = 6 * time.Second
	}
	if c.MaxAddresses <= 0 {
		c.MaxAddresses = 10_000
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Limiter{config: c, recent: list.New(), entries: make(map[netip.Prefix]*list.Element)}
}

// Allow reports whether the address may fail once more. An address that never failed always may.
func (l *Limiter) Allow(addr netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	element, ok := l.entries[Group(addr)]
	if !ok {
		return true
	}
	return bucketOf(element).TokensAt(l.config.Now()) >= 1
}

// Failed notes a refused token.
func (l *Limiter) Failed(addr netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	prefix := Group(addr)
	element, ok := l.entries[prefix]
	if !ok {
		l.makeRoom()
		bucket := rate.NewLimiter(rate.Every(l.config.Every), l.config.Burst)
		element = l.recent.PushFront(&entry{prefix: prefix, bucket: bucket})
		l.entries[prefix] = element
	}
	l.recent.MoveToFront(element)
	bucketOf(element).AllowN(l.config.Now(), 1)
}

// Len returns how many addresses are remembered.
func (l *Limiter) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.recent.Len()
}

func (l *Limiter) makeRoom() {
	if l.recent.Len() < l.config.MaxAddresses {
		return
	}
	last := l.recent.Back()
	if forgotten, ok := l.recent.Remove(last).(*entry); ok {
		delete(l.entries, forgotten.prefix)
	}
}

// bucketOf returns the element's bucket; the list holds nothing but entries.
func bucketOf(element *list.Element) *rate.Limiter {
	found, ok := element.Value.(*entry)
	if !ok {
		return rate.NewLimiter(rate.Inf, 1)
	}
	return found.bucket
}

// Group is the network that is counted as one: the address itself for IPv4, its /64 for IPv6.
func Group(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}
