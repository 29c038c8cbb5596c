package gateway

import (
	"context"
	"errors"
	"fmt"

	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/placement"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway/sfulink"
)

// linkEvents brings what happens on control channels to the views.
type linkEvents struct{ server *Server }

// LinkUp implements sfulink.Events.
func (e linkEvents) LinkUp(string, uint64) { e.server.stepAll() }

// LinkDead implements sfulink.Events.
func (e linkEvents) LinkDead(string) {
	e.server.metrics.failovers.Inc()
	e.server.stepAll()
}

// LinkFrame implements sfulink.Events.
func (e linkEvents) LinkFrame(sfu string, frame signaling.Frame) {
	s := e.server
	s.metrics.fromSFU.WithLabelValues(frame.Message.Type()).Inc()
	if m, ok := frame.Message.(signaling.Draining); ok {
		s.Log.Info().Str("sfu", sfu).Bool("draining", m.On).Msg("media server drains")
		s.stepAll()
		return
	}
	if v := s.ownerOf(frame.Session); v != nil {
		v.fromSFU(sfu, frame.Session, frame.Message)
		return
	}
	// A WHIP or WHEP leg may outlive its gateway: whoever hears of its end takes it out of the record.
	if gone, ok := frame.Message.(signaling.Gone); ok && gone.Kind != signaling.BrowserSession {
		s.forgetGone(frame.Session, gone)
	}
}

func (s *Server) forgetGone(session string, gone signaling.Gone) {
	s.wg.Go(func() {
		ctx, cancel := context.WithTimeout(s.life, storeTimeout)
		defer cancel()
		_, err := encounter.Change(ctx, s.Store, keyOf(gone.EncounterRef), func(e *encounter.Encounter) error {
			if e.Participants[gone.Participant].Sessions[session].Kind != encounter.Browser { // whatever the server calls it
				e.Leave(gone.Participant, session)
			}
			return nil
		})
		if err != nil && !errors.Is(err, encounter.ErrNotFound) {
			s.Log.Warn().Err(err).Str("encounter", gone.Encounter).Str("session", session).Msg("session not taken out")
		}
	})
}

// reserver asks SFUs over the control channels.
type reserver struct{ links *sfulink.Pool }

// Reserve implements placement.Reserver.
func (r reserver) Reserve(ctx context.Context, c placement.Candidate, key encounter.Key, epoch uint64) error {
	err := r.links.Reserve(ctx, c.SFU, refOf(key), epoch)
	if errors.Is(err, sfulink.ErrRefused) {
		return fmt.Errorf("%w: %w", placement.ErrRefused, err)
	}
	return err
}
