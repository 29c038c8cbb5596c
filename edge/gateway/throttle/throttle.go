// Package throttle bounds what one of many may cost: an address that keeps presenting tokens which are refused, and whoever
// has a good one and does too much with it. Good tokens pass whatever their address has done, so that a hospital behind one
// address can work; see access.WithMetIssuers for what an address that failed too often may still cost.
package throttle

import (
	"net/netip"
	"sync"
	"time"
)

// Config says how much is too much; zero values mean the defaults.
type Config struct {
	// Burst is how many failures an address, or attempts somebody, may have at once (default 10).
	Burst int
	// Every is how long it takes to forgive one of them (default 6 s).
	Every time.Duration
	// Max bounds how many are remembered (default 10,000); the one silent longest is forgotten first.
	Max int
	// Now is the clock (default time.Now).
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	if c.Burst <= 0 {
		c.Burst = 10
	}
	if c.Every <= 0 {
		c.Every = 6 * time.Second
	}
	if c.Max <= 0 {
		c.Max = 10_000
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Limiter counts failures per IPv4 address and per IPv6 /64, what one subscriber usually has. It is safe
// for concurrent use.
type Limiter struct {
	mu      sync.Mutex
	buckets *buckets[netip.Prefix]
}

// New returns a limiter that has seen no failure.
func New(c Config) *Limiter { return &Limiter{buckets: newBuckets[netip.Prefix](c)} }

// Allow reports whether the address may fail once more. An address that never failed always may.
func (l *Limiter) Allow(addr netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	bucket := l.buckets.known(Group(addr))
	return bucket == nil || bucket.TokensAt(l.buckets.Now()) >= 1
}

// Failed notes a refused token.
func (l *Limiter) Failed(addr netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buckets.of(Group(addr)).AllowN(l.buckets.Now(), 1)
}

// Len returns how many addresses are remembered.
func (l *Limiter) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buckets.len()
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
