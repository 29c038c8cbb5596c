package gateway

import (
	"context"
	"time"

	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
)

// handle does what a client asks for, if its role may.
func (s *Server) handle(ctx context.Context, c *client, m signaling.Message) error {
	if err := authorize(c.grant.Role, m); err != nil {
		s.remark(personOf(c.grant), func() {
			c.log.Warn().Str("code", codeOf(err)).Str("about", m.Type()).Stringer("remote", c.remote).Msg("message refused")
		})
		return err
	}
	switch m := m.(type) {
	case signaling.Ping:
		c.send(signaling.Pong(m))
		return nil
	case signaling.Stats:
		s.quality.Record(c.view.key, c.grant.Participant, c.grant.Role, m, time.Now())
		return nil
	case signaling.MuteRequest:
		return c.view.forward(c, m)
	case signaling.PublicKey:
		return s.announce(ctx, c, m)
	case signaling.SenderKey:
		return c.view.passKey(c, m)
	case signaling.MediaMessage:
		return c.view.fromClient(c, m)
	default:
		return s.command(ctx, c, m)
	}
}

// command writes a provider's decision into the record; every gateway acts on it.
func (s *Server) command(ctx context.Context, c *client, m signaling.Message) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	record, err := encounter.Change(ctx, s.Store, c.view.key, func(e *encounter.Encounter) error {
		if e.HasEnded() {
			return encounter.ErrEnded
		}
		if err := mayStillAct(e, c.grant.Participant, c.session); err != nil {
			return err
		}
		switch m := m.(type) {
		case signaling.Admit:
			return e.Admit(m.Participant)
		case signaling.Remove:
			return e.Remove(m.Participant)
		case signaling.Lock:
			e.SetLocked(m.Locked)
		case signaling.End:
			e.End(time.Now())
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.log.Info().Str("action", m.Type()).Msg("provider's action")
	c.view.observe(record)
	return nil
}

// takeOut removes a session whose client has left from the record.
func (s *Server) takeOut(ctx context.Context, c *client) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	record, err := encounter.Change(ctx, s.Store, c.view.key, func(e *encounter.Encounter) error {
		if e.Participants[c.grant.Participant].Sessions[c.session].Gateway == s.ID {
			e.Leave(c.grant.Participant, c.session)
		}
		return nil
	})
	if err != nil {
		c.log.Error().Err(err).Msg("session not taken out")
		return
	}
	c.view.observe(record)
}

// lose marks the sessions of a gateway that stops, unless they go on elsewhere.
func (s *Server) lose(ctx context.Context, v *view, lost []*local) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	record, err := encounter.Change(ctx, s.Store, v.key, func(e *encounter.Encounter) error {
		for _, l := range lost {
			if e.Participants[l.Participant].Sessions[l.ID].Gateway == s.ID {
				e.Lose(l.Participant, l.ID, time.Now())
			}
		}
		return nil
	})
	if err != nil {
		s.Log.Error().Err(err).Str("encounter", v.key.ID).Msg("lost sessions not noted")
		return
	}
	v.observe(record)
}

// handOver leaves the browsers' sessions to whichever gateway they reach next. Their legs go on.
func (v *view) handOver(ctx context.Context) {
	v.mu.Lock()
	v.stopped = true
	var lost []*local
	for _, l := range v.locals {
		if l.Kind == encounter.Browser {
			lost = append(lost, l)
		}
		l.client = nil
	}
	v.mu.Unlock()
	if len(lost) > 0 {
		v.server.lose(ctx, v, lost)
	}
}
