package sfu

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// drainEvery is how often a drain looks whether everybody is gone.
const drainEvery = 50 * time.Millisecond

var errDraining = errors.New("draining")

// SetDraining makes the server refuse encounters it does not host yet and tells the gateways, which move those
// that it does; or stops that. Whoever is here stays until their gateway moves them.
func (s *Server) SetDraining(on bool) {
	// Refuse first: a gateway that hears of it may ask at once.
	s.capacity.setDraining(on)
	s.control.SetDraining(on)
}

// Encounters is how many encounters have somebody here.
func (s *Server) Encounters() int { return s.capacity.encounters() }

// Participants is how many participants are here, those of all encounters together.
func (s *Server) Participants() int { return s.capacity.present() }

// Drain sets the server draining and returns nil once nobody is here, or an error that wraps ctx's when ctx ends
// first: then whoever is left stays until Run ends. The server goes on draining.
func (s *Server) Drain(ctx context.Context) error {
	s.SetDraining(true)
	ticker := time.NewTicker(drainEvery)
	defer ticker.Stop()
	for s.Encounters() > 0 {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("drain media server with %d encounters left: %w", s.Encounters(), ctx.Err())
		}
	}
	return nil
}
