package client

import (
	"slices"
	"time"

	"github.com/coder/websocket"

	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/client/e2ee"
)

// States of a participant in the protocol.
const (
	stateWaiting  = "waiting"
	stateAdmitted = "admitted"
)

// publishing are the permissions that allow a source to be sent. A participant of this package has no screen.
var publishing = []struct {
	permission string
	source     signaling.Source
}{{"publish-audio", signaling.Microphone}, {"publish-video", signaling.Camera}}

// permissionAdmit lets a participant let others in.
const permissionAdmit = "admit"

// passing are refusals of a join that time, or another gateway, may cure.
var passing = []string{"busy", "unavailable", "rate-limited", "no-media-server"}

// codeNoKeys is the end of a participant who cannot encrypt: nothing is sent in the clear instead.
const codeNoKeys = "no-e2ee"

// codeOver is the refusal of a join to a visit that is over.
const codeOver = "encounter-ended"

// receive handles one message of the gateway.
func (c *client) receive(m signaling.Message) {
	switch m := m.(type) {
	case signaling.Welcome:
		c.welcome(m)
	case signaling.Roster:
		c.roster(m)
	case signaling.Placed:
		if c.legs.place(m) {
			c.emit(Event{
				Kind: Placed, SFU: m.SFU, Region: m.Region, Epoch: m.Epoch, Leg: m.Leg, Reason: m.Reason, Abrupt: m.Abrupt,
			})
		}
	case signaling.Offer, signaling.Answer, signaling.Candidate, signaling.Tracks:
		if media, ok := m.(signaling.MediaMessage); ok {
			c.legs.receive(media, time.Now())
		}
	case signaling.SenderKey:
		if c.keys != nil {
			c.keys.Receive(m)
		}
	case signaling.Pong:
		c.socket.pongDue = time.Time{}
	case signaling.Gateways:
		c.gateways.learn(urls(m.Gateways))
	case signaling.Bye:
		c.bye(m)
	case signaling.Error:
		c.emit(Event{Kind: Refused, Code: m.Code})
		if !c.socket.welcomed {
			c.socket.refusal = m.Code
		}
	}
}

func (c *client) welcome(m signaling.Welcome) {
	s := c.socket
	s.welcomed = true
	if m.PingMs > 0 {
		s.pingEvery = max(minPing, time.Duration(m.PingMs)*time.Millisecond)
	}
	c.joined, c.session, c.self = true, m.Session, m.You
	c.legs.servers = m.ICEServers
	c.legs.allowed = c.allowed(m.You.Permissions)
	c.gateways.welcomed(urls(m.Gateways))
	c.emit(Event{
		Kind: Joined, Gateway: s.url, GatewayID: idOf(m.Gateways, s.url),
		Participant: m.You.Participant, Session: m.Session, Resumed: m.Resumed, State: m.State,
	})
	c.revision = 0 // what this gateway says is not late, if the records were set back to a snapshot
	if m.Resumed {
		c.legs.resume()
	} else {
		c.legs.reset()
		c.state, c.waiting = "", nil
		clear(c.admitted)
		if err := c.newKeys(m); err != nil {
			c.finish(codeNoKeys, err)
			return
		}
	}
	if c.keys != nil {
		c.keys.Announce()
	}
	c.enter(m.State)
}

// newKeys makes the keys of a new session, if its visit needs some.
func (c *client) newKeys(m signaling.Welcome) (err error) {
	c.keys = nil
	if m.E2EE {
		if c.keys, err = e2ee.New(m.You.Encounter, m.You.Participant, c.send); err != nil {
			return err
		}
	}
	return c.legs.sources.seal(c.keys)
}

// allowed are the sources that are sent.
func (c *client) allowed(permissions []string) []signaling.Source {
	if !c.Publish {
		return nil
	}
	var sources []signaling.Source
	for _, each := range publishing {
		if slices.Contains(permissions, each.permission) {
			sources = append(sources, each.source)
		}
	}
	return sources
}

func (c *client) enter(state string) {
	if state == stateAdmitted && c.state != stateAdmitted {
		c.emit(Event{Kind: Admitted})
	}
	c.state = state
}

// roster takes who is there; an older one than is known is late.
func (c *client) roster(m signaling.Roster) {
	if m.Revision < c.revision {
		return
	}
	c.revision = m.Revision
	c.waiting = nil
	present := make([]string, 0, len(m.Members))
	for _, each := range m.Members {
		present = append(present, each.Participant)
		switch {
		case each.Participant == c.self.Participant:
			c.enter(each.State)
		case each.State == stateWaiting:
			c.waiting = append(c.waiting, each.Participant)
		}
	}
	if c.state == stateAdmitted {
		c.hears.only(present)
	}
	if c.keys != nil && c.keys.Roster(m.Members, time.Now()) {
		if err := c.legs.sources.seal(c.keys); err != nil {
			c.finish(codeNoKeys, err)
		}
	}
	c.admit(time.Now())
}

// admit lets in who waits, asking again for what had no effect.
func (c *client) admit(now time.Time) {
	if !c.Admit || len(c.waiting) == 0 || c.socket == nil || !c.socket.welcomed || !slices.Contains(c.self.Permissions, permissionAdmit) {
		return
	}
	for _, each := range c.waiting {
		if asked, ok := c.admitted[each]; ok && now.Sub(asked) < admitAgain {
			continue
		}
		c.admitted[each] = now
		c.send(signaling.Admit{Participant: each})
	}
}

func (c *client) bye(m signaling.Bye) {
	c.emit(Event{Kind: Bye, Code: m.Code})
	if m.Retry && !c.leaving {
		c.lost(LossBye, 0)
		return
	}
	c.finish(m.Code, nil)
}

// closed handles the end of the socket: what was said before it, and with it, decides what follows.
func (c *client) closed(err error, opened bool) {
	status := websocket.CloseStatus(err)
	refusal := c.socket.refusal
	if refusal == "" && (status == closedToken || status == closedRefused) {
		refusal = "refused"
	}
	switch {
	case status == closedThrottled:
		c.lost(LossRefused, throttledWait)
	case slices.Contains(passing, refusal):
		c.lost(LossRefused, refusedWait)
	case refusal == codeOver && c.joined:
		c.finish(signaling.ByeEnded, nil)
	case refusal != "":
		c.finish(refusal, &RefusedError{Code: refusal})
	default:
		c.lost(lossOf(err, opened), 0)
	}
}

// urls are the base URLs of gateways.
func urls(of []signaling.Gateway) []string {
	bases := make([]string, 0, len(of))
	for _, each := range of {
		bases = append(bases, each.URL)
	}
	return bases
}

// idOf finds the id of the gateway with a base URL, "" if it is not among them.
func idOf(among []signaling.Gateway, base string) string {
	for _, each := range among {
		if url, err := baseURL(each.URL); err == nil && url == base {
			return each.ID
		}
	}
	return ""
}
