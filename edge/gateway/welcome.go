package gateway

import (
	"slices"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
)

// welcome takes a client in: its first message is Welcome, its second the roster.
func (v *view) welcome(c *client, record encounter.Encounter, resumed bool) {
	credentials := credentialID(v.key, c.grant.Participant, c.session)
	v.server.relays.expect(credentials)
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
		ICEServers: v.server.relays.servers(credentials, v.server.Region, record.Placement.SFU),
		E2EE:       record.E2EE,
	}
	// The record first: a view that did not know the session from it would end what is added now.
	v.observe(record)
	v.mu.Lock()
	defer v.mu.Unlock()
	l := v.locals[c.session]
	if l == nil {
		l = &local{session: session{
			ID: c.session, Participant: c.grant.Participant, Kind: encounter.Browser, Role: c.grant.Role,
			Resuming: resumed, KnownLeg: c.knownLeg,
		}}
	} else if l.client != nil {
		l.client.bye(signaling.Bye{Code: signaling.ByeReplaced})
	}
	l.client, l.Connected, l.Told, l.KnownLeg = c, true, nil, c.knownLeg
	c.gateways = v.gatewaysFor(c)
	welcome.Gateways = c.gateways
	if l.Leg.Phase == legOpen || l.Leg.Phase == legRetaking {
		// The SFU repeats what the client may have missed.
		l.Leg.Link = 0
	}
	c.send(welcome)
	v.hold(l)
	v.step()
}

// gatewaysFor lists where a client can go on if this gateway is lost. The caller holds the lock.
func (v *view) gatewaysFor(c *client) []signaling.Gateway {
	allowed := v.record.Regions
	if len(allowed) == 0 {
		allowed = c.grant.Regions
	}
	return v.server.peers.list(outlook{Session: c.session, Allowed: allowed, RTT: c.rtt})
}

// tellGateways sends the clients whose list of gateways changed the new one.
func (v *view) tellGateways() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, l := range v.locals {
		if l.client == nil {
			continue
		}
		list := v.gatewaysFor(l.client)
		if slices.Equal(list, l.client.gateways) {
			continue
		}
		l.client.gateways = list
		l.client.send(signaling.Gateways{Gateways: list})
	}
}

// tellGateways lets every view tell its clients which gateways there are.
func (s *Server) tellGateways() {
	for _, v := range s.allViews() {
		v.tellGateways()
	}
}
