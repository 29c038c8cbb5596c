package gateway

import (
	"context"

	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
)

// announce writes a client's public key into the record, whose roster carries it to the others.
func (s *Server) announce(ctx context.Context, c *client, m signaling.PublicKey) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	record, err := encounter.Change(ctx, s.Store, c.view.key, func(e *encounter.Encounter) error {
		return e.Announce(c.grant.Participant, c.session, m.Key)
	})
	if err != nil {
		return err
	}
	c.view.observe(record)
	return nil
}

// passKey passes a sealed media key on. Only those who are in exchange keys: who waits gets none, and gives none.
func (v *view) passKey(c *client, m signaling.SenderKey) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	l := v.locals[c.session]
	switch {
	case l == nil || l.client != c:
		return nil
	case !v.record.E2EE:
		return encounter.ErrNotEncrypted
	case v.record.Participants[c.grant.Participant].State != encounter.Admitted:
		return errNotAllowed
	case v.record.Participants[m.Participant].State != encounter.Admitted:
		return encounter.ErrUnknownParticipant
	}
	m.By = c.grant.Participant
	v.bring(c, m.Participant, m)
	return nil
}
