package sfu

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/wardline/wardline/edge/sfu/bandwidth"
)

const (
	// wireOverhead is what a packet takes beside its payload: IP, UDP, RTP with extensions, SRTP's tag.
	wireOverhead = 64
	// A path is first thought to carry startRate, and always between floorRate and ceilingRate.
	startRate   bandwidth.Rate = 1_000_000
	floorRate   bandwidth.Rate = 50_000
	ceilingRate bandwidth.Rate = 50_000_000
	// mute is how long a subscriber that said it gives feedback may take before it is taken for one that does not.
	mute = 5 * time.Second
	// unlimited is the rate of a path that tells nothing.
	unlimited = 1 << 20 * ceilingRate
)

// path is the way to one subscriber, shared by all its down tracks: it numbers what leaves, and the
// subscriber's transport feedback says how much it carries.
type path struct {
	resends *rate.Limiter // of lost packets
	began   time.Time     // times of the path count from here
	epoch   time.Duration // which is then for those of received packets
	sent    bandwidth.Sent
	// reports says that the subscriber gives transport feedback.
	reports atomic.Bool

	mu        sync.Mutex
	estimator *bandwidth.Estimator
	prober    bandwidth.Prober
	results   []bandwidth.Result
	counted   int64
	sentSince time.Duration
	closed    bool
}

func newPath(resends *rate.Limiter) *path {
	return &path{
		resends: resends, began: time.Now(),
		estimator: bandwidth.New(startRate, floorRate, ceilingRate),
	}
}

// number takes a packet of that much payload, which leaves now, and returns its transport-wide number.
func (p *path) number(payload int, now time.Duration) uint16 {
	return p.sent.Add(now, payload+wireOverhead)
}

// feedback takes a transport feedback message; what makes no sense is ignored.
func (p *path) feedback(raw []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Since(p.began)
	var err error
	if p.results, err = p.sent.Results(raw, now, p.results[:0]); err == nil {
		p.estimator.Update(now, p.results)
	}
}

// rate is what the path carries, as of now.
func (p *path) rate() bandwidth.Rate {
	if !p.reports.Load() {
		return unlimited
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now, sent := time.Since(p.began), p.sent.Bytes()
	p.estimator.Tick(now, sent != p.counted)
	p.counted = sent
	if p.sentSince == 0 && sent > 0 {
		p.sentSince = now
	}
	if !p.estimator.Heard() && sent > 0 && now-p.sentSince > mute {
		return unlimited
	}
	return p.estimator.Rate()
}

// interrupted reports, once, that the path was gone for so long that what was sent meanwhile need not be sent again.
func (p *path) interrupted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.estimator.Interrupted()
}

// probes reports whether to look now if the path carries missing, and at what rate.
func (p *path) probes(missing bandwidth.Rate) (bandwidth.Burst, bool) {
	if !p.reports.Load() {
		return bandwidth.Burst{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Since(p.began)
	at, due := p.prober.Due(now, p.estimator, missing)
	if !due || p.closed {
		return bandwidth.Burst{}, false
	}
	p.estimator.BeginProbe(p.sent.Last())
	return bandwidth.NewBurst(now, at, p.sent.Bytes()), true
}

// probe sends padding for a short while, as much as pad manages of the bytes it is asked for.
func (p *path) probe(burst bandwidth.Burst, pad func(bytes int)) {
	ticker := time.NewTicker(bandwidth.ProbeStep)
	defer ticker.Stop()
	for {
		now := time.Since(p.began)
		if burst.Over(now) || p.isClosed() {
			break
		}
		if due := burst.Due(now, p.sent.Bytes()); due > 0 {
			pad(due)
		}
		<-ticker.C
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.estimator.EndProbe(time.Since(p.began), p.sent.Last())
}

func (p *path) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

func (p *path) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
}
