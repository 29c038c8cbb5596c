package gateway

import "github.com/wardline/wardline/edge/gateway/whip"

// MediaSessions are what the WHIP and WHEP handlers use.
func MediaSessions(s *Server) whip.Sessions { return mediaSessions{s} }
