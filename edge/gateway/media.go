package gateway

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway/whip"
)

// mediaSessions are the WHIP and WHEP sessions, for the HTTP handlers.
type mediaSessions struct{ server *Server }

// Open implements whip.Sessions.
func (m mediaSessions) Open(
	ctx context.Context, g access.Grant, kind signaling.SessionKind, target, offer string,
) (whip.Opened, error) {
	s := m.server
	if err := s.paces.media(personOf(g)); err != nil {
		return whip.Opened{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.OpenTimeout)
	defer cancel()
	key, id := encounter.Key{Tenant: g.Tenant, ID: g.Encounter}, uuid.NewString()
	defer s.expect(id)()
	record, err := s.enroll(ctx, g, key, id, encounter.SessionKind(kind), nil)
	if err != nil {
		return whip.Opened{}, err
	}
	pc := signaling.Publish
	if kind == signaling.WHEPSession {
		pc = signaling.Subscribe
	}
	answered := make(chan reply, 1)
	v := s.acquire(key)
	defer s.release(v)
	v.add(&local{
		session: session{
			ID: id, Participant: g.Participant, Kind: encounter.SessionKind(kind), Role: g.Role, Target: target,
		},
		offer: &signaling.Offer{PC: pc, Negotiation: 1, SDP: offer},
		reply: answered,
	}, record)
	answer, err := await(ctx, answered)
	if err != nil {
		s.giveUp(ctx, key, g.Participant, id)
		return whip.Opened{}, err
	}
	return whip.Opened{ID: id, AnswerSDP: answer}, nil
}

func await(ctx context.Context, answered <-chan reply) (string, error) {
	select {
	case r := <-answered:
		return r.text, r.err
	case <-ctx.Done():
		return "", fmt.Errorf("answer of the media server: %w", ctx.Err())
	}
}

// giveUp takes out a session that was not answered, also after its request was given up.
func (s *Server) giveUp(ctx context.Context, key encounter.Key, participant, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	if err := (mediaSessions{s}).Close(ctx, key, participant, id); err != nil && !errors.Is(err, whip.ErrNotFound) {
		s.Log.Error().Err(err).Str("encounter", key.ID).Str("session", id).Msg("session not taken out")
	}
}

// Trickle implements whip.Sessions.
func (m mediaSessions) Trickle(
	ctx context.Context, key encounter.Key, participant, id string, candidates []whip.Candidate,
) error {
	return m.with(ctx, key, participant, id, func(v *view, l *local) error {
		for _, c := range candidates {
			out := signaling.Candidate{Route: l.Leg.Route, PC: l.pc(), Candidate: c.Candidate, MID: c.MID}
			if err := out.Validate(); err != nil {
				return fmt.Errorf("%w: %w", whip.ErrInvalidSDP, err)
			}
			if err := l.count(out); err != nil {
				return fmt.Errorf("%w: %w", whip.ErrTooManyCandidates, err)
			}
			v.send(l.Leg.SFU, id, out)
		}
		return nil
	})
}

// pc is the one peer connection of a WHIP or WHEP session.
func (l *local) pc() signaling.PeerConnection {
	if l.Kind == encounter.WHEP {
		return signaling.Subscribe
	}
	return signaling.Publish
}

// Restart implements whip.Sessions.
func (m mediaSessions) Restart(ctx context.Context, key encounter.Key, participant, id, fragment string) (string, error) {
	if err := m.server.paces.media(person{key, participant}); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, m.server.OpenTimeout)
	defer cancel()
	answered := make(chan reply, 1)
	err := m.with(ctx, key, participant, id, func(v *view, l *local) error {
		if l.reply != nil {
			return fmt.Errorf("%w: another request for this session is not answered yet", whip.ErrBusy)
		}
		restart := signaling.Restart{Route: l.Leg.Route, PC: l.pc(), Fragment: fragment}
		if err := restart.Validate(); err != nil {
			return fmt.Errorf("%w: %w", whip.ErrInvalidSDP, err)
		}
		l.reply, l.restart, l.candidates = answered, &restart, nil
		if l.Leg.Phase == legOpen { // otherwise it is sent with the leg's takeover
			v.send(l.Leg.SFU, id, restart)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	answer, err := await(ctx, answered)
	if err != nil && ctx.Err() != nil {
		m.stopWaiting(id, answered)
	}
	return answer, err
}

// stopWaiting lets the next request of a session be the one that is answered.
func (m mediaSessions) stopWaiting(id string, answered chan reply) {
	v := m.server.ownerOf(id)
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if l := v.locals[id]; l != nil && l.reply == answered {
		l.reply, l.restart = nil, nil
	}
}

// Close implements whip.Sessions.
func (m mediaSessions) Close(ctx context.Context, key encounter.Key, participant, id string) error {
	s := m.server
	found := false
	record, err := encounter.Change(ctx, s.Store, key, func(e *encounter.Encounter) error {
		_, found = e.Participants[participant].Sessions[id]
		e.Leave(participant, id)
		return nil
	})
	if errors.Is(err, encounter.ErrNotFound) || err == nil && !found {
		return whip.ErrNotFound
	}
	if err != nil {
		return err
	}
	if v := s.ownerOf(id); v != nil {
		v.observe(record)
		return nil
	}
	// Its gateway closes the leg when it sees the record; without one, this detach does.
	held := record.Placement
	route := signaling.Route{Leg: uint32(held.Epoch), Epoch: held.Epoch}
	if held.Placed() {
		_ = s.links.Send(held.SFU, signaling.Frame{Session: id, Message: signaling.Detach{Route: route}})
	}
	return nil
}

// ICEServers implements whip.Sessions.
func (m mediaSessions) ICEServers(key encounter.Key, participant, id string) []signaling.ICEServer {
	sfu := ""
	if v := m.server.ownerOf(id); v != nil {
		sfu = v.sfus()[0]
	}
	return m.server.relays.servers(credentialID(key, participant, id), m.server.Region, sfu)
}

// with runs do for a session, under its view's lock, as soon as its leg is open. A session that another gateway
// opened is taken over: any gateway may get a client's next request.
func (m mediaSessions) with(
	ctx context.Context, key encounter.Key, participant, id string, do func(*view, *local) error,
) error {
	v := m.server.ownerOf(id)
	if v == nil {
		var err error
		if v, err = m.server.adopt(ctx, key, participant, id); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, m.server.AttachTimeout)
	defer cancel()
	for {
		next, err := v.tryWith(key, participant, id, do)
		if next == nil {
			return err
		}
		select {
		case <-next:
		case <-ctx.Done():
			return fmt.Errorf("%w: the media server is not in reach", whip.ErrBusy)
		}
	}
}

// tryWith runs do if the session's leg is open; otherwise next is closed when it is worth trying again.
func (v *view) tryWith(
	key encounter.Key, participant, id string, do func(*view, *local) error,
) (next <-chan struct{}, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	l := v.locals[id]
	if l == nil || l.Kind == encounter.Browser || v.key != key || l.Participant != participant {
		return nil, whip.ErrNotFound
	}
	if l.Leg.Phase != legOpen && l.Leg.Phase != legRetaking {
		return v.nextStep(), nil
	}
	return nil, do(v, l)
}

// adopt takes a WHIP or WHEP session over from another gateway. Its leg goes on.
func (s *Server) adopt(ctx context.Context, key encounter.Key, participant, id string) (*view, error) {
	record, err := encounter.Change(ctx, s.Store, key, func(e *encounter.Encounter) error {
		held, ok := e.Participants[participant].Sessions[id]
		if !ok || held.Kind == encounter.Browser {
			return whip.ErrNotFound
		}
		return e.Resume(participant, id, s.ID)
	})
	if errors.Is(err, encounter.ErrNotFound) {
		return nil, whip.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	p := record.Participants[participant]
	v := s.acquire(key)
	defer s.release(v)
	v.adopt(&local{session: session{
		ID: id, Participant: participant, Kind: p.Sessions[id].Kind, Role: p.Role, Resuming: true,
	}}, record)
	return v, nil
}
