package turn

import (
	"context"
	"fmt"
	"time"
)

// drainEvery is how often a drain looks whether the last allocation is gone.
const drainEvery = 50 * time.Millisecond

// SetDraining refuses new allocations while existing ones go on, or takes them again, and tells the gateways. The answer
// to a client is 508 Insufficient Capacity (RFC 8656, section 19), upon which ICE goes on with the next relay of its list:
// 486 would be about the user's own quota, and 300 has to name another relay, which the client's list does already.
func (s *Server) SetDraining(on bool) {
	s.draining.Store(on)
	s.control.SetDraining(on)
}

// Drain sets the relay draining and returns nil once there are no allocations, or an error that wraps ctx's when ctx
// ends first: then those that are left go on until Run ends. The relay goes on draining.
func (s *Server) Drain(ctx context.Context) error {
	s.SetDraining(true)
	ticker := time.NewTicker(drainEvery)
	defer ticker.Stop()
	for s.Allocations() > 0 {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("drain relay with %d allocations left: %w", s.Allocations(), ctx.Err())
		}
	}
	return nil
}
