package bandwidth_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/edge/sfu/allocation"
	"github.com/wardline/wardline/edge/sfu/bandwidth"
)

// network is one path, played in steps of a millisecond: a link of some rate with a queue before it, a delay
// each way and random loss.
type network struct {
	rate   func(time.Duration) bandwidth.Rate
	queue  time.Duration // of what the link carries; beyond that it drops
	delay  time.Duration // one way
	jitter time.Duration
	loss   float64
	gone   func(time.Duration) bool // nothing passes; nil for never
}

const (
	step     = time.Millisecond
	kilobit  = bandwidth.Rate(1000)
	megabit  = bandwidth.Rate(1_000_000)
	audio    = 40 * kilobit
	overhead = 64 // bytes of headers a packet
)

// layerRates are those of the pictures; costs adds what sending them takes.
var (
	layerRates = []bandwidth.Rate{150 * kilobit, 500 * kilobit, 1500 * kilobit}
	costs      = []bandwidth.Rate{166 * kilobit, 540 * kilobit, 1590 * kilobit}
)

// voice is what audio takes with its headers: 50 packets a second.
const voice = audio + 50*8*overhead

// call plays a publisher of three layers and a voice to one receiver.
type call struct {
	network
	rates, costs []bandwidth.Rate
	every        time.Duration // a picture
	random       *rand.Rand
	now          time.Duration
	sent         bandwidth.Sent
	estimator    *bandwidth.Estimator
	prober       bandwidth.Prober
	allocator    allocation.Allocator
	burst        bandwidth.Burst
	probing      bool

	queued    time.Duration // what waits before the link takes
	underway  []delivery
	received  []bandwidth.Result // since the last feedback
	feedbacks []feedback

	layer, next int
	switchAt    time.Duration

	// What happened, by second and as a whole.
	history  []moment
	voiceGap time.Duration // longest time without voice
	voiceAt  time.Duration
	maxQueue time.Duration
}

type delivery struct {
	at    time.Duration
	r     bandwidth.Result
	voice bool
}

type feedback struct {
	at      time.Duration
	results []bandwidth.Result
}

type moment struct {
	at       time.Duration
	layer    int
	estimate bandwidth.Rate
}

func newCall(n network) *call {
	return &call{
		network: n, rates: layerRates, costs: costs, every: 33 * time.Millisecond, random: rand.New(rand.NewPCG(1, 2)),
		estimator: bandwidth.New(megabit, 50*kilobit, 20*megabit), layer: allocation.None, next: allocation.None,
	}
}

func (c *call) run(until time.Duration) {
	for ; c.now < until; c.now += step {
		c.deliver()
		if c.now%(20*time.Millisecond) == 0 {
			c.send(int(audio)*20/8000, true)
		}
		c.video()
		if c.now%bandwidth.ProbeStep == 0 {
			c.pad()
		}
		if c.now%(100*time.Millisecond) == 0 {
			c.report()
			c.control()
		}
	}
}

// video sends a frame whenever one is due; after a switch it is a key frame.
func (c *call) video() {
	if c.next != c.layer && c.now >= c.switchAt {
		c.layer = c.next
		if c.layer != allocation.None {
			c.frame(3)
			return
		}
	}
	if c.layer != allocation.None && c.now%c.every == 0 {
		c.frame(1)
	}
}

func (c *call) frame(times int) {
	for left := times * int(c.rates[c.layer]) * int(c.every/time.Millisecond) / 8000; left > 0; left -= 1200 {
		c.send(min(left, 1200), false)
	}
}

func (c *call) pad() {
	if !c.probing {
		return
	}
	for due := c.burst.Due(c.now, c.sent.Bytes()); due > 0; due -= 300 {
		c.send(300-overhead, false)
	}
	if c.burst.Over(c.now) {
		c.probing = false
		c.estimator.EndProbe(c.now, c.sent.Last())
	}
}

func (c *call) send(payload int, voice bool) {
	size := payload + overhead
	number := c.sent.Add(c.now, size)
	r := bandwidth.Result{Number: number, Sent: c.now, Size: size}
	takes := time.Duration(float64(size*8) / float64(c.rate(c.now)) * float64(time.Second))
	if c.queued+takes > c.queue || c.gone != nil && c.gone(c.now) {
		r.Lost = true
	} else {
		c.queued += takes
		c.maxQueue = max(c.maxQueue, c.queued)
		r.Lost = c.random.Float64() < c.loss
	}
	at := c.now + c.queued + c.delay
	if c.jitter > 0 {
		at += time.Duration(c.random.Int64N(int64(c.jitter)))
	}
	c.underway = append(c.underway, delivery{at: at, r: r, voice: voice})
}

func (c *call) deliver() {
	c.queued = max(0, c.queued-step)
	waiting := c.underway[:0]
	for _, d := range c.underway {
		if d.at > c.now {
			waiting = append(waiting, d)
			continue
		}
		d.r.Arrived = d.at + time.Hour // another clock
		c.received = append(c.received, d.r)
		if d.voice && !d.r.Lost {
			c.voiceGap = max(c.voiceGap, c.now-c.voiceAt)
			c.voiceAt = c.now
		}
	}
	c.underway = waiting
	for len(c.feedbacks) > 0 && c.feedbacks[0].at <= c.now {
		c.estimator.Update(c.now, c.feedbacks[0].results)
		c.feedbacks = c.feedbacks[1:]
	}
}

func (c *call) report() {
	slices.SortFunc(c.received, func(a, b bandwidth.Result) int { return int(a.Number) - int(b.Number) })
	if !slices.ContainsFunc(c.received, func(r bandwidth.Result) bool { return !r.Lost }) {
		return // a receiver that gets nothing does not know what it is missing
	}
	if len(c.received) > 0 {
		c.feedbacks = append(c.feedbacks, feedback{c.now + c.delay, c.received})
	}
	c.received = nil
}

func (c *call) control() {
	c.estimator.Tick(c.now, true)
	track := allocation.Track{Layers: c.costs, Top: len(c.costs) - 1, Current: c.next}
	choice, missing := c.allocator.Share(c.now, c.estimator.Rate()-voice, []allocation.Track{track})
	if choice[0] != c.next {
		if c.next = choice[0]; c.next < c.layer {
			c.layer = allocation.None // congestion: the old layer does not go on until the key frame
		}
		c.switchAt = c.now + 100*time.Millisecond
	}
	if missing > 0 && !c.probing {
		if rate, due := c.prober.Due(c.now, c.estimator, missing+voice); due {
			c.probing, c.burst = true, bandwidth.NewBurst(c.now, rate, c.sent.Bytes())
			c.estimator.BeginProbe(c.sent.Last())
		}
	}
	c.history = append(c.history, moment{c.now, c.layer, c.estimator.Rate()})
}

// settled is when, from a time on, the layer was one of wanted for good until another time.
func (c *call) settled(from, until time.Duration, wanted func(layer int) bool) time.Duration {
	at := from
	for _, m := range c.history {
		if m.at >= from && m.at < until && !wanted(m.layer) {
			at = m.at + 100*time.Millisecond
		}
	}
	return at - from
}

func (c *call) show(t *testing.T) {
	t.Helper()
	for _, m := range c.history {
		if m.at%time.Second == 0 {
			t.Logf("%5v layer %2d estimate %5d kbit/s", m.at, m.layer, m.estimate/kilobit)
		}
	}
	t.Logf("longest voice gap %v, longest queue %v", c.voiceGap, c.maxQueue)
}

func steady(rate bandwidth.Rate) func(time.Duration) bandwidth.Rate {
	return func(time.Duration) bandwidth.Rate { return rate }
}

func TestCapacityFallsAndRises(t *testing.T) {
	const down, up, end = 20 * time.Second, 50 * time.Second, 80 * time.Second
	networks := map[string]network{
		"short queue":       {queue: 100 * time.Millisecond, delay: 20 * time.Millisecond},
		"long queue":        {queue: time.Second, delay: 20 * time.Millisecond},
		"150 ms round trip": {queue: 300 * time.Millisecond, delay: 75 * time.Millisecond},
		"3 % loss":          {queue: 300 * time.Millisecond, delay: 20 * time.Millisecond, loss: 0.03},
		"10 ms jitter":      {queue: 300 * time.Millisecond, delay: 20 * time.Millisecond, jitter: 10 * time.Millisecond},
		"all of it": {
			queue: 300 * time.Millisecond, delay: 75 * time.Millisecond, jitter: 10 * time.Millisecond, loss: 0.03,
		},
	}
	for name, n := range networks {
		t.Run(name, func(t *testing.T) {
			n.rate = func(at time.Duration) bandwidth.Rate {
				if at >= down && at < up {
					return 300 * kilobit
				}
				return 2 * megabit
			}
			c := newCall(n)
			c.run(end)
			c.show(t)
			high := func(layer int) bool { return layer == 2 }
			require.Less(t, c.settled(0, down, high), 10*time.Second, "the high layer at first")
			require.Less(t, c.settled(down, up, func(layer int) bool { return layer == 0 }), 3*time.Second, "down to what fits")
			require.Less(t, c.settled(up, end, high), 15*time.Second, "back up")
		})
	}
}

// TestAQueueThatStandsIsDrained has a layer that just fits: all packets would wait for as long as the queue is.
func TestAQueueThatStandsIsDrained(t *testing.T) {
	const end = 90 * time.Second
	for name, n := range map[string]network{
		"near":   {queue: 200 * time.Millisecond, delay: 5 * time.Millisecond},
		"far":    {queue: 300 * time.Millisecond, delay: 75 * time.Millisecond},
		"jitter": {queue: 300 * time.Millisecond, delay: 20 * time.Millisecond, jitter: 50 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			for _, large := range []bandwidth.Rate{220 * kilobit, 235 * kilobit, 250 * kilobit} {
				n.rate = steady(300 * kilobit)
				c := newCall(n)
				c.every = 100 * time.Millisecond
				c.rates, c.costs = []bandwidth.Rate{100 * kilobit, large}, []bandwidth.Rate{115 * kilobit, large * 11 / 10}
				waits, looked := 0, 0
				for c.now < end {
					c.run(c.now + 10*time.Millisecond)
					if c.now < end/3 {
						continue
					}
					looked++
					if c.queued > 100*time.Millisecond {
						waits++
					}
				}
				require.Less(t, float64(waits)/float64(looked), 0.25, "share of the time that voices wait for 100 ms, at %d", large)
			}
		})
	}
}

// TestAPathThatGotLongerIsNoQueue has a round trip of its own from some time on.
func TestAPathThatGotLongerIsNoQueue(t *testing.T) {
	const longer, end = 20 * time.Second, 40 * time.Second
	c := newCall(network{rate: steady(5 * megabit), queue: 300 * time.Millisecond, delay: 10 * time.Millisecond})
	c.run(longer)
	c.delay = 150 * time.Millisecond
	c.run(end)
	c.show(t)
	require.Less(t, c.settled(longer, end, func(layer int) bool { return layer == 2 }), 8*time.Second)
}

// TestWhoSendsLittleMakesNoQueue has little to send when the round trip gets longer.
func TestWhoSendsLittleMakesNoQueue(t *testing.T) {
	const longer, end = 20 * time.Second, 34 * time.Second
	c := newCall(network{rate: steady(5 * megabit), queue: 300 * time.Millisecond, delay: 10 * time.Millisecond})
	c.rates, c.costs = []bandwidth.Rate{60 * kilobit}, []bandwidth.Rate{76 * kilobit}
	c.run(longer)
	before := c.estimator.Rate()
	for c.now < end { // so slowly that the delay gradient does not show it
		c.delay += time.Millisecond
		c.run(c.now + 200*time.Millisecond)
	}
	require.GreaterOrEqual(t, c.estimator.Rate(), before)
}

func TestAnOutageSaysNothingAboutWhatFits(t *testing.T) {
	const out, end = 20 * time.Second, 40 * time.Second
	for name, c := range map[string]struct {
		network
		layer int           // that fits
		soon  time.Duration // it is to be there again
	}{
		"near":     {network{rate: steady(20 * megabit), delay: 5 * time.Millisecond}, 2, 2 * time.Second},
		"far":      {network{rate: steady(20 * megabit), delay: 75 * time.Millisecond}, 2, 2 * time.Second},
		"3 % loss": {network{rate: steady(20 * megabit), delay: 20 * time.Millisecond, loss: 0.03}, 2, 2 * time.Second},
		"narrow":   {network{rate: steady(2 * megabit), delay: 20 * time.Millisecond}, 2, 3 * time.Second},
		"narrower": {network{rate: steady(800 * kilobit), delay: 20 * time.Millisecond}, 1, 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			for lasts := 500 * time.Millisecond; lasts <= 5*time.Second; lasts += 300 * time.Millisecond {
				back := out + lasts
				n := c.network
				n.queue = 300 * time.Millisecond
				n.gone = func(at time.Duration) bool { return at >= out && at < back }
				call := newCall(n)
				call.run(end)
				some := func(layer int) bool { return layer != allocation.None }
				before := func(layer int) bool { return layer >= c.layer }
				require.Less(t, call.settled(back, end, some), 300*time.Millisecond, "a picture after %s", lasts)
				require.Less(t, call.settled(back, end, before), c.soon, "as before after %s", lasts)
				require.Equal(t, lasts > time.Second, call.estimator.Interrupted(), "%s", lasts)
				require.False(t, call.estimator.Interrupted(), "once")
			}
		})
	}
}

// A picture of a screen that stands still leaves now and then: nothing can have been heard of it at once.
func TestWhatJustLeftIsNotUnheardOf(t *testing.T) {
	e := bandwidth.New(megabit, 50*kilobit, 20*megabit)
	const tick = 100 * time.Millisecond
	for i := range 1000 {
		now := time.Duration(i) * tick
		e.Tick(now, i%100 == 0) // with a picture
		if i%100 == 1 {
			e.Update(now, []bandwidth.Result{{Number: uint16(i), Sent: now - tick, Size: 1000, Arrived: time.Hour + now}})
		}
		require.Equal(t, megabit, e.Rate())
	}
	for i := 1000; i < 1100; i++ {
		e.Tick(time.Duration(i)*tick, i%4 == 0)
	}
	require.Less(t, e.Rate(), megabit, "nothing is heard of anything any more")
}

// After an outage much is lost and the rest arrives at once, so that the rate at which it did is not known.
func TestWhatIsNotKnownIsNotTakenForNothing(t *testing.T) {
	e := bandwidth.New(megabit, 50*kilobit, 20*megabit)
	var results []bandwidth.Result
	for i := range 120 {
		results = append(results, bandwidth.Result{
			Number: uint16(i), Sent: time.Duration(i) * 5 * time.Millisecond, Size: 1000,
			Lost: i%30 < 20, Arrived: time.Hour + 600*time.Millisecond,
		})
	}
	e.Update(700*time.Millisecond, results)
	require.Less(t, e.Rate(), megabit)
	require.GreaterOrEqual(t, e.Rate(), megabit/2)
}

func TestSteadyNetworks(t *testing.T) {
	const end = 60 * time.Second
	tests := map[string]struct {
		network
		layer   int
		atMost  bandwidth.Rate
		atLeast bandwidth.Rate
	}{
		"wide": {
			network{rate: steady(20 * megabit), queue: 100 * time.Millisecond, delay: 10 * time.Millisecond},
			2, 20 * megabit, 1700 * kilobit,
		},
		"wide with 10 % loss": {
			network{rate: steady(20 * megabit), queue: 100 * time.Millisecond, delay: 10 * time.Millisecond, loss: 0.1},
			2, 20 * megabit, 1300 * kilobit,
		},
		"wide with 50 ms jitter": {
			network{rate: steady(20 * megabit), queue: 100 * time.Millisecond, delay: 30 * time.Millisecond, jitter: 50 * time.Millisecond},
			2, 20 * megabit, 1400 * kilobit,
		},
		"1 Mbit/s": {
			network{rate: steady(megabit), queue: 300 * time.Millisecond, delay: 20 * time.Millisecond},
			1, 1500 * kilobit, 600 * kilobit,
		},
		"400 kbit/s": {
			network{rate: steady(400 * kilobit), queue: 300 * time.Millisecond, delay: 20 * time.Millisecond},
			0, 600 * kilobit, 250 * kilobit,
		},
		"voice only": {
			network{rate: steady(120 * kilobit), queue: 300 * time.Millisecond, delay: 20 * time.Millisecond},
			allocation.None, 220 * kilobit, 50 * kilobit,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCall(test.network)
			c.run(end)
			c.show(t)
			fits, after := 0, 0
			for _, m := range c.history {
				if m.at < 12*time.Second {
					continue
				}
				require.LessOrEqual(t, m.estimate, test.atMost, "at %v", m.at)
				require.GreaterOrEqual(t, m.estimate, test.atLeast, "at %v", m.at)
				after++
				if m.layer == test.layer {
					fits++
				}
			}
			require.Greater(t, float64(fits)/float64(after), 0.9, "share of the time on the layer that fits")
		})
	}
}
