package turn

import (
	"net/netip"
	"time"

	"github.com/wardline/wardline/core/revocation"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/core/signaling/control"
)

// controlled does what gateways say on the control channel.
type controlled struct{ server *Server }

var _ control.Handler = controlled{}

// Receive implements control.Handler.
func (c controlled) Receive(link *control.Link, frame signaling.Frame) {
	switch m := frame.Message.(type) {
	case signaling.Revoke:
		link.Send(signaling.Frame{Message: c.revoke(link.Peer(), m)})
	case signaling.Allow:
		link.Send(signaling.Frame{Message: c.allow(m)})
	default:
		c.server.misdirected.Add(1)
		c.server.config.Log.Warn().Str("gateway", link.Peer()).Str("type", m.Type()).Msg("frame is not for a relay")
	}
}

// Lost implements control.Handler: allocations go on without gateways.
func (controlled) Lost(*control.Link) {}

// Load implements control.Handler: the allocations as a share of those there may be.
func (c controlled) Load() float64 {
	return float64(c.server.relays.count()) / float64(c.server.config.MaxAllocations)
}

func (c controlled) revoke(gateway string, m signaling.Revoke) signaling.Revoked {
	entries := make([]revocation.Entry, 0, len(m.Revocations))
	done := signaling.Revoked{Credentials: make([]string, 0, len(m.Revocations))}
	for _, each := range m.Revocations {
		entries = append(entries, revocation.Entry{Credential: each.Credential, Until: time.Unix(each.Until, 0)})
		done.Credentials = append(done.Credentials, each.Credential)
	}
	done.Ended = c.server.relays.revoke(entries)
	if done.Ended > 0 {
		c.server.config.Log.Info().Str("gateway", gateway).Int("allocations", done.Ended).Msg("allocations revoked")
	}
	return done
}

// allow answers with the addresses that are allowed now.
func (c controlled) allow(m signaling.Allow) signaling.Allowed {
	answer := signaling.Allowed{Addresses: []string{}}
	if c.server.config.Announced == nil {
		return answer
	}
	announced := make([]netip.AddrPort, 0, len(m.Addresses))
	for _, text := range m.Addresses {
		if address, err := netip.ParseAddrPort(text); err == nil {
			announced = append(announced, address)
		}
	}
	for _, address := range c.server.config.Announced(announced) {
		answer.Addresses = append(answer.Addresses, address.String())
	}
	return answer
}
