package client

import (
	"slices"
	"sync"
	"time"

	"github.com/pion/webrtc/v4"
	"github.com/rs/zerolog"

	"github.com/wardline/wardline/core/signaling"
)

// legs are all legs of a session. A move opens the new leg beside the old one and closes the old one when the new one
// carries media; a leg whose SFU is dead is closed as soon as the new one is connected, for it may not be as dead as the
// gateway believes.
type legs struct {
	publish   *webrtc.API
	settings  webrtc.SettingEngine
	relayOnly bool
	direct    bool // no relays
	sources   *sources
	hears     *reception
	packet    func(packet []byte, at time.Time)
	log       zerolog.Logger
	send      func(signaling.Message)
	post      func(func())
	changed   func() // must not block: what reads a leg's sockets calls it

	allowed []signaling.Source
	servers []signaling.ICEServer // of the welcome
	open    []*leg                // oldest first
	closing sync.WaitGroup
}

// current is the newest leg, nil if there is none.
func (l *legs) current() *leg {
	if len(l.open) == 0 {
		return nil
	}
	return l.open[len(l.open)-1]
}

// place opens the leg of a placement, and reports whether it is new.
func (l *legs) place(m signaling.Placed) bool {
	if current := l.current(); current != nil && m.Leg <= current.route.Leg {
		return false
	}
	servers := m.ICEServers
	if len(servers) == 0 {
		servers = l.servers
	}
	if l.direct {
		servers = nil
	}
	sent := map[signaling.PeerConnection]int{}
	opened, err := newLeg(l.publish, l.settings, configuration(servers, l.relayOnly), m.Route, l.send, legEvents{
		changed: l.changed,
		listen: func(on *hearing, from stream) hear {
			listener := l.hears.listen(on, from)
			return func(packet []byte, at time.Time) bool {
				l.packet(packet, at)
				return listener.packet(at)
			}
		},
		candidate: func(m signaling.Candidate) {
			l.post(func() {
				sent[m.PC]++
				if sent[m.PC] <= maxCandidates && l.find(m.Leg) != nil {
					l.send(m)
				}
			})
		},
	})
	if err != nil {
		l.log.Error().Err(err).Uint32("leg", m.Leg).Msg("leg not opened")
		return false
	}
	opened.patient = len(l.open) > 0 && !m.Abrupt
	l.open = append(l.open, opened)
	l.state(opened)
	if err := opened.pub.offer(l.sources, l.allowed); err != nil {
		l.log.Error().Err(err).Uint32("leg", m.Leg).Msg("nothing published")
	}
	return true
}

// find returns an open leg, nil if it is not.
func (l *legs) find(number uint32) *leg {
	at := slices.IndexFunc(l.open, func(each *leg) bool { return each.route.Leg == number })
	if at < 0 {
		return nil
	}
	return l.open[at]
}

// receive passes a message on to its leg; one of a closed leg, or of another epoch, is nobody's.
func (l *legs) receive(m signaling.MediaMessage, now time.Time) {
	to := l.find(m.On().Leg)
	if to == nil || to.route != m.On() {
		return
	}
	if err := to.receive(m, now); err != nil {
		l.log.Warn().Err(err).Uint32("leg", to.route.Leg).Str("type", m.Type()).Msg("negotiation failed")
	}
	if _, selected := m.(signaling.Tracks); selected {
		l.hears.expect(to.sub.streams())
	}
}

// step finds legs that can take over from older ones. It reports whether the newest one has failed and was not replaced
// in time.
func (l *legs) step(now time.Time) (lost bool) {
	for _, each := range slices.Clone(l.open) {
		each.look(now)
		if !each.ready && each.flows(now, l.missing(each)) {
			each.ready = true
			l.send(signaling.LegReady{Route: each.route})
			l.retireBefore(each.route.Leg)
		}
	}
	current := l.current()
	return current != nil && !current.failedAt.IsZero() && now.Sub(current.failedAt) >= failedGrace
}

// missing reports whether anything that was offered on a leg has not come yet.
func (l *legs) missing(on *leg) bool {
	for _, each := range on.sub.streams() {
		if !l.hears.has(on.heard, each) {
			return true
		}
	}
	return false
}

// resume repeats what may have been lost with the socket.
func (l *legs) resume() {
	for _, each := range l.open {
		each.pub.resume()
		l.state(each)
		if each.ready {
			l.send(signaling.LegReady{Route: each.route})
		}
	}
}

// state says what is sent on purpose.
func (l *legs) state(on *leg) {
	l.send(signaling.MediaState{
		Route: on.route,
		Audio: slices.Contains(l.allowed, signaling.Microphone), Video: slices.Contains(l.allowed, signaling.Camera),
	})
}

// reset closes everything, for a new session or the end.
func (l *legs) reset() {
	for _, each := range l.open {
		l.retire(each)
	}
	l.open = nil
}

func (l *legs) retireBefore(number uint32) {
	l.open = slices.DeleteFunc(l.open, func(each *leg) bool {
		if each.route.Leg >= number {
			return false
		}
		l.retire(each)
		return true
	})
}

// retire closes a leg in the background: pion takes its time.
func (l *legs) retire(old *leg) { l.closing.Go(old.close) }
