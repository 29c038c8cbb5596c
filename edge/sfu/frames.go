package sfu

import (
	"errors"
	"fmt"
	"time"

	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/core/signaling/control"
)

// Receive implements control.Handler: it acts on one frame of a gateway.
func (s *Server) Receive(link *control.Link, frame signaling.Frame) {
	switch m := frame.Message.(type) {
	case signaling.Reserve:
		s.reserve(link, m)
	case signaling.Membership:
		s.inRoom(m.EncounterRef, func(r *room) { r.setMembership(m) })
	case signaling.Attach:
		s.attach(link, frame.Session, m)
	case signaling.MuteRequest:
		s.pass(frame.Session, m.Participant, m)
	case signaling.SenderKey:
		s.pass(frame.Session, m.Participant, m)
	case signaling.MediaMessage:
		s.withLeg(link, frame.Session, m.On(), func(l *leg) { l.receive(m) })
	}
}

// refuse declines a request about an encounter.
func (s *Server) refuse(link *control.Link, session string, refused signaling.Refused) {
	s.metrics.refused.WithLabelValues(refused.Code).Inc()
	s.cfg.Log.Info().Str("encounter", refused.Encounter).Str("tenant", refused.Tenant).Str("session", session).
		Str("code", refused.Code).Str("about", refused.About).Msg("refused")
	link.Send(signaling.Frame{Session: session, Message: refused})
}

// explain puts a code of a refusal into words.
func (s *Server) explain(code string) string {
	switch code {
	case signaling.RefusedBusy:
		return fmt.Sprintf("all of the capacity of %d participants is taken", s.cfg.Capacity)
	case signaling.RefusedDraining:
		return "draining: takes no new encounters"
	case signaling.RefusedStale:
		return "a higher epoch of this encounter was seen"
	case signaling.RefusedInvalid:
		return "the session is one of another encounter"
	default:
		return code
	}
}

func (s *Server) reserve(link *control.Link, m signaling.Reserve) {
	s.inRoom(m.EncounterRef, func(r *room) {
		code := signaling.RefusedStale
		if m.Epoch >= r.epoch {
			code = s.capacity.reserve(m.EncounterRef, time.Now())
		}
		if code != "" {
			s.refuse(link, "", signaling.Refused{
				EncounterRef: m.EncounterRef, Code: code, Message: s.explain(code), About: m.Type(),
			})
			return
		}
		r.sawEpoch(m.Epoch)
		link.Send(signaling.Frame{Message: m})
	})
}

// attach opens a leg, or lets another gateway take one over.
func (s *Server) attach(link *control.Link, session string, m signaling.Attach) {
	s.inRoom(m.EncounterRef, func(r *room) {
		decline := func(code, message string) {
			s.refuse(link, session, signaling.Refused{
				Route: m.Route, EncounterRef: m.EncounterRef, Code: code, Message: message, About: m.Type(),
			})
		}
		if m.Epoch < r.epoch {
			decline(signaling.RefusedStale, s.explain(signaling.RefusedStale))
			return
		}
		if err := s.checkAttach(r, session, m); err != nil {
			decline(signaling.RefusedInvalid, err.Error())
			return
		}
		if l := r.leg(session, m.Leg); l != nil {
			r.sawEpoch(m.Epoch)
			r.takeOver(l, link, m)
			return
		}
		if code := r.open(link, session, m); code != "" {
			decline(code, s.explain(code))
		}
	})
}

// checkAttach finds what makes no sense about an attach.
func (s *Server) checkAttach(r *room, session string, m signaling.Attach) error {
	if !signaling.ValidID(session) {
		return fmt.Errorf("session %.70q: not an id", session)
	}
	if r.known && r.membership.Ended {
		return errors.New("the encounter has ended")
	}
	l := r.leg(session, m.Leg)
	switch {
	case l != nil && (l.participant != m.Participant || l.kind != m.Kind):
		return fmt.Errorf("leg %d of this session is somebody else's", m.Leg)
	case l == nil && len(r.people[m.Participant]) >= maxLegs:
		return fmt.Errorf("more than %d legs of one participant", maxLegs)
	}
	return nil
}

// open starts a leg; the code says why not, empty if it did.
func (r *room) open(link *control.Link, session string, m signaling.Attach) (code string) {
	l := newLeg(r, session, m, r.server.cfg.Log)
	if !r.server.addLeg(l) {
		return signaling.RefusedInvalid
	}
	if len(r.people[l.participant]) == 0 {
		if code := r.server.capacity.enter(r.ref, time.Now()); code != "" {
			l.closed = true
			r.server.removeLeg(l)
			return code
		}
	}
	r.sawEpoch(m.Epoch)
	l.link = link
	r.add(l)
	l.log.Info().Str("kind", string(l.kind)).Msg("leg opened")
	l.send(signaling.Attached{Route: l.route})
	r.refresh(l)
	r.changed()
	return ""
}

// takeOver lets a gateway continue a leg whose peer connections stay as they are.
func (r *room) takeOver(l *leg, link *control.Link, m signaling.Attach) {
	l.link, l.route = link, m.Route
	l.permit(m)
	l.log.Info().Msg("leg taken over")
	l.send(signaling.Attached{Route: l.route, Resumed: true})
	r.refresh(l)
	r.changed()
}

// withLeg runs f, under the room's lock, for a leg that this link speaks for. A message on a link that
// was relieved by another, or of another epoch, is too late and is ignored.
func (s *Server) withLeg(link *control.Link, session string, route signaling.Route, f func(*leg)) {
	l := s.leg(session, route.Leg)
	if l == nil {
		return
	}
	l.room.mu.Lock()
	defer l.room.mu.Unlock()
	if l.closed || l.route != route || l.link != nil && l.link != link {
		return
	}
	f(l)
}

// pass hands a message to the gateway of every browser session of the participant it is for.
func (s *Server) pass(session, participant string, m signaling.Message) {
	r := s.roomOf(session)
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	told := make(map[string]bool)
	for _, l := range r.people[participant] {
		if l.kind == signaling.BrowserSession && !told[l.session] {
			told[l.session] = true
			l.send(m)
		}
	}
}

func (s *Server) roomOf(session string) *room {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, l := range s.legs {
		if key.session == session {
			return l.room
		}
	}
	return nil
}

// receive acts on a media message of the client.
func (l *leg) receive(m signaling.MediaMessage) {
	var err error
	switch m := m.(type) {
	case signaling.Offer:
		err = l.offer(m)
	case signaling.Answer:
		if l.subscriber.expects(m) {
			err = l.negotiate(m, func() error { return l.subscriber.answer(m) })
		}
	case signaling.Candidate:
		err = l.candidate(m)
	case signaling.MediaState:
		if l.state == nil || *l.state != m {
			l.state = &m
			l.room.changed()
		}
	case signaling.View:
		l.subscriber.view = newView(m) // from the next tick on
		l.room.viewChanged(l)
	case signaling.RestartICE:
		err = l.restartICE(m)
	case signaling.Restart:
		err = l.restart(m)
	case signaling.Detach:
		l.log.Info().Msg("leg detached")
		l.room.remove(l)
		l.room.changed()
	}
	if err != nil {
		l.refuse(m.Type(), err)
	}
}

func (l *leg) offer(m signaling.Offer) error {
	answer := l.publisher.offer
	switch {
	case m.PC == signaling.Publish && l.kind != signaling.WHEPSession:
	case m.PC == signaling.Subscribe && l.kind == signaling.WHEPSession:
		if !l.canSubscribe {
			return errors.New("not allowed to receive")
		}
		answer = l.subscriber.answerOffer
	default:
		return fmt.Errorf("a %s session does not offer on %s", l.kind, m.PC)
	}
	if err := l.throttled(); err != nil {
		return err
	}
	return l.negotiate(m, func() error { return answer(m) })
}

// connection is one of the leg's two, nil if it is not there.
func (l *leg) connection(pc signaling.PeerConnection) *connection {
	if pc == signaling.Publish {
		return l.publisher.conn
	}
	return l.subscriber.conn
}

func (l *leg) candidate(m signaling.Candidate) error {
	if conn := l.connection(m.PC); conn != nil {
		return conn.candidate()
	}
	return nil
}

// restart hands a client's ICE restart to the leg's worker.
func (l *leg) restart(m signaling.Restart) error {
	if err := l.throttled(); err != nil {
		return err
	}
	return l.negotiate(m, func() error {
		var conn *connection
		l.whileOpen(func() { conn = l.connection(m.PC) })
		if conn == nil {
			return fmt.Errorf("no %s connection to restart", m.PC)
		}
		fragment, err := conn.restart(m.Fragment)
		if err != nil {
			return err
		}
		l.whileOpen(func() { l.send(signaling.Restarted{Route: l.route, PC: m.PC, Fragment: fragment}) })
		return nil
	})
}

// restartICE has the subscriber look for new paths.
func (l *leg) restartICE(m signaling.RestartICE) error {
	if l.kind != signaling.BrowserSession {
		return fmt.Errorf("a %s session restarts ICE by its own offer", l.kind)
	}
	if err := l.throttled(); err != nil {
		return err
	}
	l.subscriber.restartICE(m.Negotiation)
	return nil
}
