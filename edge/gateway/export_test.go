package gateway

import (
	"github.com/wardline/wardline/core/placement"
	"github.com/wardline/wardline/edge/gateway/whip"
)

// MediaSessions are what the WHIP and WHEP handlers use.
func MediaSessions(s *Server) whip.Sessions { return mediaSessions{s} }

// Kill ends a gateway as a crash does: nobody is told, and nothing is written.
func Kill(s *Server) {
	s.mu.Lock()
	views := s.views
	s.views = nil
	s.mu.Unlock()
	for _, v := range views {
		v.mu.Lock()
		v.stopped, v.locals = true, nil
		v.mu.Unlock()
	}
	s.end()
	s.links.Close()
	s.turns.Close()
	_ = s.http.Close()
}

// Knows is what a gateway has heard from an SFU.
func Knows(s *Server, sfu string) placement.Known { return s.knownOf(sfu) }

// Forwards says whether a relay has confirmed an SFU to a gateway.
func Forwards(s *Server, relay, sfu string) bool { return s.turns.Standing(relay, sfu).Forwards }
