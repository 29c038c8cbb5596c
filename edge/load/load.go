// Package load is a load generator: synthetic visits whose participants publish and subscribe over a Door, which is the real
// signaling or WHIP and WHEP, and what they measured: how long joining took, how long packets were on their way, and
// what was lost.
package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/wardline/wardline/edge/load/synthetic"
)

// Config says what load is made and how.
type Config struct {
	// Visits are there at once, each with this many participants who publish and this many who only receive. All receive
	// from all others of their visit.
	Visits, Publishers, Subscribers int
	// Speakers is how many publishers of a visit speak at a time; 0 is all. Every Turn one falls silent and another speaks.
	Speakers int
	Turn     time.Duration
	// Voices and Videos are how many of the others' a participant is to receive at most, where the server selects; 0 is all.
	Voices, Videos int
	// Format is what publishers send.
	Format synthetic.Format
	// Ramp is how long it takes until all participants have begun to join.
	Ramp time.Duration
	// Duration is how long is measured once everything flows.
	Duration time.Duration
	// JoinTimeout is how long a join may take; whoever has received nothing by then has failed.
	JoinTimeout time.Duration
	// Door lets participants in.
	Door Door
	// CPU is how much processor time the server has used; nil measures none.
	CPU func() (time.Duration, error)
	// Progress is told about once a second, and may be nil.
	Progress func(Progress)
}

// Door is how participants get to a server.
type Door interface {
	// Attend takes part as the guest until ctx ends, and then leaves. The error says why it did not get in or was thrown
	// out; it is nil if only ctx ended it.
	Attend(ctx context.Context, guest *Guest) error
	// Close cleans up after all visits.
	Close(ctx context.Context) error
}

// Bounds of a Config.
const (
	maxVisits       = 10_000
	maxParticipants = 2_000 // of a visit
	maxDuration     = 24 * time.Hour
)

// Validate says which value is not allowed.
func (c Config) Validate() error {
	for _, each := range []struct {
		name             string
		value, low, high int
	}{
		{"visits", c.Visits, 1, maxVisits},
		{"publishers", c.Publishers, 0, maxParticipants},
		{"subscribers", c.Subscribers, 0, maxParticipants},
		{"publishers and subscribers together", c.Publishers + c.Subscribers, 1, maxParticipants},
		{"speakers", c.Speakers, 0, maxParticipants},
		{"voices", c.Voices, 0, maxParticipants},
		{"videos", c.Videos, 0, maxParticipants},
	} {
		if each.value < each.low || each.value > each.high {
			return fmt.Errorf("%s %d: must be %d to %d", each.name, each.value, each.low, each.high)
		}
	}
	for _, each := range []struct {
		name             string
		value, low, high time.Duration
	}{
		{"ramp", c.Ramp, 0, maxDuration},
		{"duration", c.Duration, time.Second, maxDuration},
		{"join timeout", c.JoinTimeout, time.Second, maxDuration},
		{"speaker turn", c.Turn, 0, maxDuration},
	} {
		if each.value < each.low || each.value > each.high {
			return fmt.Errorf("%s %s: must be %s to %s", each.name, each.value, each.low, each.high)
		}
	}
	if c.Publishers > 0 && c.Format.VideoBitrate == 0 && c.Format.AudioBitrate == 0 {
		return errors.New("video and audio bitrate 0: publishers need one of them")
	}
	return c.Format.Validate()
}

const (
	// look is how often it is looked at whether everything flows.
	look = 100 * time.Millisecond
	// calm is how long after the last new stream the rest is not waited for any longer: a server may choose whom a
	// participant hears.
	calm = 2 * time.Second
	// warmUp is how long everything flows before it is measured.
	warmUp = time.Second
	// ahead is when the window opens and closes after it was said, so that nobody counts by the old one any more.
	ahead = 20 * time.Millisecond
	// flight is how long packets may be on their way.
	flight = 500 * time.Millisecond
	// closing bounds the end.
	closing = 10 * time.Second
)

// Run makes the load and reports what was measured. When ctx ends it reports what it has so far.
func Run(ctx context.Context, config Config) (Report, error) {
	if err := config.Validate(); err != nil {
		return Report{}, err
	}
	r := newRun(config)
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var running sync.WaitGroup
	running.Go(func() { r.invite(ctx, life, &running) })
	r.measure(ctx)
	end()
	running.Wait()
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), closing)
	defer cancel()
	closeErr := config.Door.Close(late)
	report := r.report()
	report.Interrupted = ctx.Err() != nil
	if closeErr != nil {
		report.problem(fmt.Errorf("not cleaned up: %w", closeErr))
	}
	return report, nil
}

// run is one run.
type run struct {
	Config
	window  synthetic.Window
	guests  []*Guest
	invited chan struct{}

	begun, opened, closed time.Time
	cpu                   time.Duration
	cpuErr                error
	latency, reading      histogram
}

func newRun(config Config) *run {
	r := &run{Config: config, begun: time.Now(), invited: make(chan struct{})}
	if r.Progress == nil {
		r.Progress = func(Progress) {}
	}
	people := r.Publishers + r.Subscribers
	// Visit by visit, so that each of them is soon complete.
	for visit := 1; visit <= r.Visits; visit++ {
		for number := 1; number <= people; number++ {
			g := &Guest{Visit: visit, Number: number, Publishers: r.Publishers, window: &r.window, latency: &r.latency, reading: &r.reading}
			if number <= r.Publishers {
				g.Source = synthetic.NewSource(r.Format, uint32(2*len(r.guests)), &r.window)
				g.Source.Speaks = r.speaks(number)
			}
			r.guests = append(r.guests, g)
		}
	}
	return r
}

// speaks says when the publisher with a number has the floor.
func (c Config) speaks(number int) func(time.Duration) bool {
	if c.Speakers == 0 || c.Speakers >= c.Publishers {
		return nil
	}
	return func(since time.Duration) bool {
		turns := 0
		if c.Turn > 0 {
			turns = int(since/c.Turn) % c.Publishers
		}
		return (number-1-turns+c.Publishers)%c.Publishers < c.Speakers
	}
}

// others are the tracks that a guest should receive.
func (r *run) others(g *Guest) []*synthetic.Track {
	people := r.Publishers + r.Subscribers
	var tracks []*synthetic.Track
	for _, each := range r.guests[(g.Visit-1)*people : g.Visit*people] {
		if each != g && each.Source != nil {
			tracks = append(tracks, each.Source.Tracks()...)
		}
	}
	return tracks
}

// wanted is how many tracks a guest should receive.
func (r *run) wanted(g *Guest) int {
	publishers := r.Publishers
	if g.Source != nil {
		publishers--
	}
	count := 0
	if r.Format.AudioBitrate > 0 {
		count += atMost(r.Voices, publishers)
	}
	if r.Format.VideoBitrate > 0 {
		count += atMost(r.Videos, publishers)
	}
	return count
}

// atMost is how many of all are received where a limit is set.
func atMost(limit, all int) int {
	if limit == 0 {
		return all
	}
	return min(limit, all)
}

// invite lets the guests join, evenly over the ramp.
func (r *run) invite(ctx, life context.Context, running *sync.WaitGroup) {
	defer close(r.invited)
	begin := time.Now()
	for i, guest := range r.guests {
		due := time.NewTimer(time.Until(begin.Add(r.Ramp * time.Duration(i) / time.Duration(len(r.guests)))))
		select {
		case <-due.C:
		case <-ctx.Done():
			due.Stop()
			return
		}
		guest.begin(time.Now())
		running.Go(func() { guest.end(r.Door.Attend(life, guest)) })
		if guest.Source != nil {
			running.Go(func() { guest.Source.Run(life) })
		}
	}
}

// measure waits until everything flows, and measures until the duration is over or ctx ends.
func (r *run) measure(ctx context.Context) {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	said := time.Now()
	flows := r.flowing()
	for {
		select {
		case <-ctx.Done():
			r.finish()
			return
		case now := <-ticker.C:
			if now.Sub(said) >= time.Second {
				said = now
				r.Progress(r.progress(now))
			}
			if r.opened.IsZero() && flows(now) {
				r.open(now)
			}
			if !r.opened.IsZero() && now.Sub(r.opened) >= r.Duration {
				r.finish()
				return
			}
		}
	}
}

// flowing returns what decides whether measuring can begin.
func (r *run) flowing() func(time.Time) bool {
	var invited, grew, complete time.Time
	streams := 0
	return func(now time.Time) bool {
		select {
		case <-r.invited:
		default:
			return false
		}
		if invited.IsZero() {
			invited = now
		}
		current, all, everybody := r.streams()
		if current != streams || grew.IsZero() {
			streams, grew = current, now
		}
		enough := all || everybody && now.Sub(grew) >= calm
		if !enough && now.Sub(invited) < r.JoinTimeout {
			return false
		}
		if complete.IsZero() {
			complete = now
		}
		return now.Sub(complete) >= warmUp
	}
}

// streams counts what is received, and says whether that is all of it, and whether everybody receives something.
func (r *run) streams() (count int, all, everybody bool) {
	all, everybody = true, true
	for _, guest := range r.guests {
		got, failed := guest.receives()
		count += got
		if failed {
			continue
		}
		want := r.wanted(guest)
		all = all && got >= want
		everybody = everybody && (got > 0 || want == 0)
	}
	return count, all, everybody
}

func (r *run) open(now time.Time) {
	if r.CPU != nil {
		r.cpu, r.cpuErr = r.CPU()
	}
	for _, guest := range r.guests {
		if guest.Source != nil {
			guest.Source.Late() // what came before does not count
		}
	}
	r.opened = now
	r.window.Open(synthetic.Now() + ahead)
}

func (r *run) finish() {
	r.closed = time.Now()
	r.window.Close(synthetic.Now() + ahead)
	if r.opened.IsZero() {
		return
	}
	if r.CPU != nil && r.cpuErr == nil {
		before := r.cpu
		r.cpu, r.cpuErr = r.CPU()
		r.cpu -= before
	}
	time.Sleep(flight)
}
