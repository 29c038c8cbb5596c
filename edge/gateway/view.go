package gateway

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway/sfulink"
)

// view is one encounter as long as this gateway has sessions of it. Whatever happens, a new record, a
// frame, a lost socket, a timer, changes what it knows and then steps: decide says what to do, apply does it.
// Under its lock it only queues; everything that waits runs in goroutines of its own.
type view struct {
	server *Server
	key    encounter.Key
	ctx    context.Context
	cancel context.CancelFunc
	// refs counts the sessions and visitors that need the view; the server's lock guards it.
	refs int

	mu         sync.Mutex
	record     encounter.Encounter
	everybody  *signaling.Roster
	encoded    encodedRoster
	names      map[string]badgeName // by badge
	locals     map[string]*local
	members    membershipMark
	placing    bool
	placeAfter time.Time
	moveAfter  time.Time
	correcting map[string]bool // sessions
	expiring   bool
	alarm      *time.Timer
	alarmAt    time.Time
	stopped    bool
	// changed, if somebody waits for it, is closed by the next step.
	changed chan struct{}
}

// local is a session of this gateway with what decisions do not need.
type local struct {
	session
	// client is nil for WHIP and WHEP, and while a socket is lost.
	client *client
	// unanswered is the client's last publish offer until its answer passes, in case the channel breaks.
	unanswered *signaling.Offer
	candidates map[candidateKey]int
	// offer waits for a WHIP or WHEP leg, restart for its answer; reply hears what the SFU says to either.
	offer   *signaling.Offer
	restart *signaling.Restart
	reply   chan reply
}

// candidateKey counts candidates a peer connection.
type candidateKey struct {
	leg uint32
	pc  signaling.PeerConnection
}

// reply is an SFU's answer to a WHIP or WHEP request.
type reply struct {
	text string
	err  error
}

// encodedRoster keeps the newest roster as bytes: it is sent to many.
type encodedRoster struct {
	roster *signaling.Roster
	data   []byte
}

func newView(s *Server, key encounter.Key) *view {
	ctx, cancel := context.WithCancel(s.life)
	v := &view{
		server: s, key: key, ctx: ctx, cancel: cancel,
		names: make(map[string]badgeName), locals: make(map[string]*local), correcting: make(map[string]bool),
	}
	s.wg.Go(v.watch)
	return v
}

// watch follows the record until the view ends.
func (v *view) watch() {
	for e := range v.server.Store.Watch(v.ctx, v.key) {
		v.observe(e)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.stopped = true
	if v.alarm != nil {
		v.alarm.Stop()
	}
}

// observe takes note of a record unless a newer one is known.
func (v *view) observe(e encounter.Encounter) {
	names := v.openBadges(e)
	v.mu.Lock()
	defer v.mu.Unlock()
	if e.Revision <= v.record.Revision {
		return
	}
	v.server.revoke(revoked(v.record, e)...)
	v.record = e
	v.everybody = rosterOf(v.everybody, e, names)
	v.step()
}

// add takes in a session under a record that holds it. The session keeps the view alive.
func (v *view) add(l *local, record encounter.Encounter) {
	// The record first: a view that did not know the session from it would end what is added now.
	v.observe(record)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.hold(l)
	v.step()
}

// adopt is add for a session found in the record, which somebody may have added or adopted meanwhile.
func (v *view) adopt(l *local, record encounter.Encounter) {
	v.observe(record)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.locals[l.ID] != nil {
		return
	}
	v.hold(l)
	v.step()
}

// hold makes a session one of the view's. The caller holds the lock.
func (v *view) hold(l *local) {
	if v.locals[l.ID] == nil {
		v.server.retain(v)
	}
	v.locals[l.ID] = l
	v.server.own(l.ID, v)
}

// wake decides again.
func (v *view) wake() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.step()
}

// step decides and acts until there is nothing more to do. The caller holds the lock.
func (v *view) step() {
	if v.stopped || v.ctx.Err() != nil {
		return
	}
	for _, a := range decide(v.situation()) {
		v.apply(a)
	}
	if v.changed != nil {
		close(v.changed)
		v.changed = nil
	}
}

// nextStep returns a channel that the next step closes. The caller holds the lock.
func (v *view) nextStep() <-chan struct{} {
	if v.changed == nil {
		v.changed = make(chan struct{})
	}
	return v.changed
}

func (v *view) situation() situation {
	now := time.Now()
	s := situation{
		Self: v.server.ID, Now: now, AttachTimeout: v.server.AttachTimeout,
		GraceEnds: func(session string, lost time.Time) time.Time { return v.server.graces.ends(session, lost, now) },
		Record:    v.record, Everybody: v.everybody,
		Sessions: make([]session, 0, len(v.locals)), Links: make(map[string]sfulink.State),
		Members: v.members, Placing: v.placing, PlaceAfter: v.placeAfter, MoveAfter: v.moveAfter, MoveSpread: v.server.MoveSpread,
	}
	for _, id := range slices.Sorted(maps.Keys(v.locals)) {
		one := v.locals[id].session
		one.Offering = v.locals[id].offer != nil
		s.Sessions = append(s.Sessions, one)
		s.Links[one.Leg.SFU] = v.server.links.State(one.Leg.SFU)
	}
	s.Links[v.record.Placement.SFU] = v.server.links.State(v.record.Placement.SFU)
	return s
}

// sfus lists the media servers that the view needs.
func (v *view) sfus() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	ids := []string{v.record.Placement.SFU}
	for _, l := range v.locals {
		ids = append(ids, l.Leg.SFU)
		for _, old := range l.Older {
			ids = append(ids, old.SFU)
		}
	}
	return ids
}

// alarmFor steps again at a time, the earliest asked for.
func (v *view) alarmFor(at time.Time) {
	now := time.Now()
	if v.alarmAt.After(now) && !at.Before(v.alarmAt) {
		return
	}
	if v.alarm != nil {
		v.alarm.Stop()
	}
	v.alarmAt = at
	v.alarm = time.AfterFunc(max(at.Sub(now), time.Millisecond), v.wake)
}

// lost notes that a socket is gone; the session stays for the grace.
func (v *view) lost(c *client) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if l := v.locals[c.session]; l != nil && l.client == c {
		l.client, l.Connected, l.Told = nil, false, nil
		v.step()
	}
}

// left takes a session out at once, in the record too.
func (v *view) left(c *client) {
	v.mu.Lock()
	if l := v.locals[c.session]; l != nil && l.client == c {
		v.apply(end{Session: l.ID, Bye: signaling.Bye{Code: signaling.ByeLeft}, Detach: true})
	}
	v.mu.Unlock()
}
