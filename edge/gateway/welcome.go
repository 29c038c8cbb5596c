package gateway

import (
	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
)

// welcome takes a client in: its first message is Welcome, its second the roster.
func (v *view) welcome(c *client, record encounter.Encounter, resumed bool) {
	p := record.Participants[c.grant.Participant]
	allowed := access.Permissions(c.grant.Role)
	permissions := make([]string, 0, len(allowed))
	for _, action := range allowed {
		permissions = append(permissions, string(action))
	}
	welcome := signaling.Welcome{
		Session: c.session, Resumed: resumed, State: string(p.State),
		You: signaling.Self{
			Participant: c.grant.Participant, Role: string(c.grant.Role), Name: c.grant.Name,
			Encounter: c.grant.Encounter, Permissions: permissions,
		},
		PingMs: int(v.server.PingEvery.Milliseconds()), ResumeMs: int(v.server.ResumeGrace.Milliseconds()),
		ICEServers: v.server.relays.servers(c.session, v.server.Region),
	}
	// The record first: a view that did not know the session from it would end what is added now.
	v.observe(record)
	v.mu.Lock()
	defer v.mu.Unlock()
	l := v.locals[c.session]
	if l == nil {
		l = &local{session: session{
			ID: c.session, Participant: c.grant.Participant, Kind: encounter.Browser, Role: c.grant.Role, Resuming: resumed,
		}}
	} else if l.client != nil {
		l.client.bye(signaling.Bye{Code: signaling.ByeReplaced})
	}
	l.client, l.Connected, l.Told = c, true, nil
	if l.Leg.Phase == legOpen || l.Leg.Phase == legRetaking {
		// The SFU repeats what the client may have missed.
		l.Leg.Link = 0
	}
	c.send(welcome)
	v.hold(l)
	v.step()
}
