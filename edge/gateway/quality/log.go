// Package quality keeps what browsers report about their media: a bounded timeline per encounter, and
// metrics over all of them. Numbers and texts come from outside, so each is bounded or listed first.
package quality

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
)

// Bounds of what a Log holds. At one report every 5 s MaxSamples are half an hour.
const (
	MaxSamples      = 360
	MaxParticipants = 64
	MaxEncounters   = 2000
	// maxKept bounds the samples and the tracks in them over all encounters: some 200 MB.
	maxKept = 1 << 20
	// MaxAge is how long an encounter without reports is kept.
	MaxAge = 4 * time.Hour
	// minInterval is the least time between two kept samples of one participant's leg: a client that
	// reports faster must not push its own history out.
	minInterval = time.Second
)

// Log is the timelines of the encounters whose participants reported to this gateway.
type Log struct {
	metrics *metrics
	now     func() time.Time
	most    int // maxKept

	mu         sync.Mutex
	encounters map[encounter.Key]*visit
	kept       int // of all encounters
}

// visit is one encounter's samples.
type visit struct {
	touched      time.Time
	kept         int // samples and tracks
	participants map[string]*reporter
}

// reporter is one participant's newest samples, a ring whose oldest entry is at next once full.
type reporter struct {
	role    access.Role
	samples []Sample
	next    int
	// counted remembers each track's freeze counter, to add only what is new to the metric.
	counted map[trackKey]float64
	state   string
}

// trackKey names a received track across reports.
type trackKey struct {
	leg         uint32
	participant string
	source      string
}

// NewLog returns an empty log that exports its metrics through reg.
func NewLog(reg prometheus.Registerer, now func() time.Time) *Log {
	return &Log{metrics: newMetrics(reg), now: now, most: maxKept, encounters: make(map[encounter.Key]*visit)}
}

// Record takes one report of a participant, whose role is the token's. Reports beyond the bounds
// still count in the metrics, but leave no sample.
func (l *Log) Record(key encounter.Key, participant string, role access.Role, s signaling.Stats, at time.Time) {
	sample := clean(s, at)
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.visit(key)
	who := v.reporter(participant, role)
	l.metrics.observe(role, sample, who)
	if who == nil {
		return
	}
	grown := who.keep(sample)
	v.kept, l.kept = v.kept+grown, l.kept+grown
	for l.kept > l.most {
		l.dropSilent()
	}
}

// Timeline returns a copy of an encounter's timeline, empty if nobody reported.
func (l *Log) Timeline(key encounter.Key) Timeline {
	l.mu.Lock()
	defer l.mu.Unlock()
	timeline := Timeline{Participants: []Participant{}}
	v, ok := l.encounters[key]
	if !ok || l.now().Sub(v.touched) > MaxAge {
		return timeline
	}
	for id, who := range v.participants {
		timeline.Participants = append(timeline.Participants, Participant{ID: id, Role: who.role, Samples: who.ordered()})
	}
	slices.SortFunc(timeline.Participants, func(a, b Participant) int { return strings.Compare(a.ID, b.ID) })
	return timeline
}

// visit finds or makes room for an encounter.
func (l *Log) visit(key encounter.Key) *visit {
	v, ok := l.encounters[key]
	if !ok {
		l.makeRoom()
		v = &visit{participants: make(map[string]*reporter)}
		l.encounters[key] = v
	}
	v.touched = l.now()
	return v
}

// reporter finds or makes room for a participant; nil if the encounter is full of others.
func (v *visit) reporter(participant string, role access.Role) *reporter {
	who, ok := v.participants[participant]
	if !ok {
		if len(v.participants) >= MaxParticipants {
			return nil
		}
		who = &reporter{role: role, counted: make(map[trackKey]float64)}
		v.participants[participant] = who
	}
	return who
}

// makeRoom drops encounters nobody reported from for MaxAge and, if that is not enough for one more, the one that was
// silent longest.
func (l *Log) makeRoom() {
	now := l.now()
	for key, v := range l.encounters {
		if now.Sub(v.touched) > MaxAge {
			l.drop(key)
		}
	}
	if len(l.encounters) >= MaxEncounters {
		l.dropSilent()
	}
}

// dropSilent drops the encounter that was silent longest.
func (l *Log) dropSilent() {
	var oldest encounter.Key
	var since time.Time
	for key, v := range l.encounters {
		if since.IsZero() || v.touched.Before(since) {
			oldest, since = key, v.touched
		}
	}
	l.drop(oldest)
}

func (l *Log) drop(key encounter.Key) {
	l.kept -= l.encounters[key].kept
	delete(l.encounters, key)
}

// keep adds a sample, in place of the oldest once there are MaxSamples, and returns by how much more is kept.
func (who *reporter) keep(s Sample) (grown int) {
	if last, ok := who.last(); ok && last.Leg == s.Leg && s.At.Sub(last.At) < minInterval {
		return 0
	}
	if len(who.samples) < MaxSamples {
		who.samples = append(who.samples, s)
		return s.weight()
	}
	grown = s.weight() - who.samples[who.next].weight()
	who.samples[who.next] = s
	who.next = (who.next + 1) % MaxSamples
	return grown
}

// weight is how much of maxKept a sample takes.
func (s Sample) weight() int { return 1 + len(s.Send) + len(s.Receive) }

func (who *reporter) last() (Sample, bool) {
	if len(who.samples) == 0 {
		return Sample{}, false
	}
	return who.samples[(who.next+len(who.samples)-1)%len(who.samples)], true
}

// ordered returns the samples, oldest first.
func (who *reporter) ordered() []Sample {
	return slices.Concat(who.samples[who.next:], who.samples[:who.next])
}
