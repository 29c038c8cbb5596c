package client

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/client/e2ee"
	"github.com/wardline/wardline/edge/client/peer"
)

// client is one participant. One loop owns everything; what runs beside it posts what it finds.
type client struct {
	Config
	http      *http.Client
	gateways  gateways
	hears     *reception
	legs      *legs
	socket    *socket // nil while none is tried
	retryAt   time.Time
	nextStats time.Time
	idle      bool // the loop's beat is the only one
	stepped   time.Time

	session   string
	joined    bool // ever
	self      signaling.Self
	keys      *e2ee.Exchange // of an end-to-end encrypted visit
	state     string
	revision  uint64
	waiting   []string             // of the newest roster
	admitted  map[string]time.Time // when their admission was asked for
	leaving   bool
	finished  bool
	lastCode  string
	outcome   error
	emitting  sync.Mutex
	life      context.Context
	mail      chan func()
	nudged    chan struct{} // something of a leg changed
	goroutine sync.WaitGroup
}

// Run takes part in a visit until ctx ends, and then leaves, or until the visit is over. The error is nil if the
// participant had joined and was not refused; otherwise it is ErrNeverJoined, a *RefusedError, or says what of config is
// not allowed.
func Run(ctx context.Context, config Config) error {
	if err := config.validate(); err != nil {
		return err
	}
	settings := newSettings(config)
	publish, err := peer.Publishing(settings)
	if err != nil {
		return err
	}
	from, err := newSources(config)
	if err != nil {
		return err
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	c := &client{
		Config: config, http: newHTTP(config), gateways: newGateways(config.Gateways),
		admitted: make(map[string]time.Time), life: life, mail: make(chan func()), nudged: make(chan struct{}, 1),
	}
	c.hears = newReception(c.emit)
	c.legs = &legs{
		publish: publish, settings: settings, relayOnly: config.RelayOnly, direct: config.DirectUDP, sources: from, hears: c.hears,
		log: config.Log, packet: config.Packet, send: c.send, post: c.post, changed: c.nudge,
	}
	if c.idle = from.idle(config.Publish); !c.idle {
		c.goroutine.Go(func() { from.run(life) })
	}
	err = c.run(ctx)
	c.drop()
	c.legs.reset()
	end()
	c.legs.closing.Wait()
	c.goroutine.Wait()
	c.http.CloseIdleConnections()
	if c.joined {
		c.emit(Event{Kind: Ended, Code: c.lastCode})
	}
	return err
}

// run is the loop.
func (c *client) run(ctx context.Context) error {
	if c.RTT == nil {
		c.RTT = measureRegions(ctx, c.http, c.Gateways)
	}
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	c.connect()
	stop := ctx.Done()
	var late <-chan time.Time
	for !c.finished {
		select {
		case <-stop:
			stop = nil
			c.leave()
			late = time.After(leaveTimeout)
		case <-late:
			c.finish(signaling.ByeLeft, nil)
		case work := <-c.mail:
			work()
		case <-c.nudged:
			c.stepLegs(time.Now())
		case <-ticker.C:
			c.step(time.Now())
		}
	}
	if c.outcome == nil && !c.joined {
		return ErrNeverJoined
	}
	return c.outcome
}

// post has the loop do something, unless there is no loop any more.
func (c *client) post(work func()) {
	select {
	case c.mail <- work:
	case <-c.life.Done():
	}
}

// nudge has the loop look at the legs, and waits for nothing: the loop may be waiting for who calls it.
func (c *client) nudge() {
	select {
	case c.nudged <- struct{}{}:
	default:
	}
}

// emit tells an event.
func (c *client) emit(event Event) {
	c.emitting.Lock()
	defer c.emitting.Unlock()
	event.T = time.Now().UTC()
	c.Events(event)
}

// leave ends the session politely: the gateway's answer ends the loop.
func (c *client) leave() {
	c.leaving = true
	if c.socket == nil || !c.socket.welcomed {
		c.finish(signaling.ByeLeft, nil)
		return
	}
	c.send(signaling.Leave{})
}

// finish ends the loop.
func (c *client) finish(code string, err error) {
	if !c.finished {
		c.finished, c.lastCode, c.outcome = true, code, err
	}
}

// step does what is due.
func (c *client) step(now time.Time) {
	if c.idle && !c.stepped.IsZero() {
		c.legs.sources.beat(now.Sub(c.stepped) - tick)
	}
	c.stepped = now
	if c.socket != nil {
		c.watch(now)
	} else if !now.Before(c.retryAt) {
		c.connect()
	}
	c.admit(now)
	if c.keys != nil {
		c.keys.Step(now)
	}
	c.hears.silences(now)
	c.stepLegs(now)
	if now.Before(c.nextStats) {
		return
	}
	// On a steady beat, unless the loop was held up for longer than that.
	if c.nextStats = c.nextStats.Add(statsEvery); c.nextStats.Before(now) {
		c.nextStats = now.Add(statsEvery)
	}
	common := Event{StallMs: milliseconds(c.legs.sources.harvestStall())}
	if current := c.legs.current(); current != nil {
		common.Leg = current.route.Leg
		common.Path, common.Relay, common.RTTMs = current.path()
	}
	c.hears.stats(now, common)
}

// stepLegs lets legs take over, and joins anew when the newest one is dead and nobody replaced it.
func (c *client) stepLegs(now time.Time) {
	if !c.legs.step(now) || c.leaving || c.socket == nil || !c.socket.welcomed {
		return
	}
	c.session = ""
	c.lost(LossMedia, 0)
}

// connect tries the gateway whose turn it is.
func (c *client) connect() {
	base := c.gateways.current()
	c.emit(Event{Kind: Connecting, Gateway: base})
	ctx, hangUp := context.WithCancel(c.life)
	s := &socket{url: base, hangUp: hangUp, begun: time.Now(), pingEvery: defaultPing}
	c.socket = s
	join := signaling.Join{Token: c.Token, Resume: c.session, RTT: c.RTT}
	c.goroutine.Go(func() { c.converse(ctx, s, join) })
}

// converse runs beside the loop: it connects a socket, joins and passes on what the gateway says.
func (c *client) converse(ctx context.Context, s *socket, join signaling.Join) {
	conn, err := dial(ctx, c.http, s.url)
	opened := err == nil
	if opened {
		defer func() { _ = conn.CloseNow() }()
		c.post(func() { s.conn = conn })
		if err = write(ctx, conn, join); err == nil {
			receive := func(m signaling.Message) { c.onSocket(s, func() { c.receive(m) }) }
			err = read(ctx, conn, receive, func(err error) { c.Log.Warn().Err(err).Msg("message not understood") })
		}
	}
	c.onSocket(s, func() { c.closed(err, opened) })
}

// onSocket has the loop do something about a socket, unless another one has taken its place by then.
func (c *client) onSocket(s *socket, work func()) {
	c.post(func() {
		if c.socket == s && !c.finished {
			work()
		}
	})
}

// send sends to the gateway, if it is there: what matters is said again after a resume.
func (c *client) send(m signaling.Message) {
	if c.socket == nil || c.socket.conn == nil || !c.socket.welcomed {
		return
	}
	if err := write(c.life, c.socket.conn, m); err != nil {
		c.Log.Debug().Err(err).Str("type", m.Type()).Msg("not sent")
	}
}

// watch pings the gateway and gives it up when it is silent.
func (c *client) watch(now time.Time) {
	s := c.socket
	if loss := s.overdue(now); loss != "" {
		c.lost(loss, 0)
		return
	}
	if !s.welcomed || now.Before(s.pingAt) {
		return
	}
	s.pingAt = now.Add(s.pingEvery)
	s.pings++
	c.send(signaling.Ping{ID: s.pings})
	if s.pongDue.IsZero() {
		s.pongDue = now.Add(pongTimeout)
	}
}

// lost gives the socket up and plans the next one, after at least this long if all gateways have been tried.
func (c *client) lost(loss string, atLeast time.Duration) {
	c.emit(Event{Kind: Lost, Gateway: c.gateways.current(), Error: loss})
	c.drop()
	if c.leaving {
		c.finish(signaling.ByeLeft, nil)
		return
	}
	wait := c.gateways.lost(rand.Float64()) //nolint:gosec // jitter
	if c.gateways.roundOver() {
		wait = max(wait, atLeast)
	}
	c.retryAt = time.Now().Add(wait)
	if wait == 0 {
		c.connect()
	}
}

// drop hangs up.
func (c *client) drop() {
	if c.socket != nil {
		c.socket.hangUp()
		c.socket = nil
	}
}
