package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway/bearer"
)

// Subprotocol of the signaling WebSocket.
const Subprotocol = "wardline.v1"

// Codes of refused joins in metrics and audit lines that no client is told.
const (
	refusedNoJoin    = "no-join"
	refusedThrottled = "throttled"
	cutCrowded       = "crowded"
	cutIdle          = "idle"
)

// lostAfterPings is how many pings a client may leave out before it counts as lost. It gives a gateway up after three:
// there is no hurry here, and a phone that changes networks should not look gone to the others.
const lostAfterPings = 9

// signal serves one browser's WebSocket. Pages of other origins than the gateways' are refused by the handshake.
func (s *Server) signal(w http.ResponseWriter, r *http.Request) {
	ctx, hangUp := context.WithCancel(r.Context())
	defer hangUp()
	calm := s.calm(hangUp)
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		OnPingReceived: func(context.Context, []byte) bool { return calm() },
		OnPongReceived: func(context.Context, []byte) { calm() },
		Subprotocols:   []string{Subprotocol},
		// A page goes on at another gateway when it loses its own; which ones there are, the catalog alone says.
		InsecureSkipVerify: s.peers.knows(r.Header.Get("Origin")),
	})
	if err != nil {
		s.noJoins.Do(func() { // the error repeats headers, which are free text
			s.Log.Info().Bool("origin", r.Header.Get("Origin") != "").Stringer("remote", bearer.Addr(r)).Msg("no WebSocket")
		})
		return
	}
	conn.SetReadLimit(maxJoinBytes)
	defer context.AfterFunc(s.life, hangUp)() //nolint:contextcheck // the gateway's end ends every socket
	c := newClient(s, conn, bearer.Addr(r), hangUp)
	if !s.enter(c) {
		_ = conn.CloseNow()
		return
	}
	defer s.exit(c)
	c.leaveLobby = s.lobby.enter(c.remote, func() {
		s.metrics.cut.WithLabelValues(cutCrowded).Inc()
		hangUp()
	})
	defer c.leaveLobby()
	written := make(chan struct{})
	go func() {
		defer close(written)
		c.write(ctx)
	}()
	s.converse(ctx, c)
	// Whoever ended the conversation may have left a last message for the writer.
	c.out.finish(nil, false, websocket.StatusNormalClosure, "")
	defer time.AfterFunc(s.Linger, hangUp).Stop()
	c.drain(ctx)
	<-written
}

// enter counts a socket in, unless the gateway is closing.
func (s *Server) enter(c *client) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.clients[c] = struct{}{}
	s.sockets.Add(1)
	s.metrics.clients.Inc()
	return true
}

func (s *Server) exit(c *client) {
	s.mu.Lock()
	delete(s.clients, c)
	s.mu.Unlock()
	s.metrics.clients.Dec()
	s.sockets.Done()
}

// converse takes a client's messages from its join to its end.
func (s *Server) converse(ctx context.Context, c *client) {
	late := time.AfterFunc(s.JoinTimeout, func() {
		if c.out.finish(nil, false, closeNoJoin, refusedNoJoin) {
			s.noJoin(c)
		}
	})
	first, err := c.readOne(ctx, s.JoinTimeout+s.Linger)
	if !late.Stop() || err != nil {
		return
	}
	request, ok := first.(signaling.Join)
	if !ok {
		s.noJoin(c)
		c.refuse(signaling.Error{Code: codeInvalid, Message: "the first message must be join", About: first.Type()}, closeRefused)
		return
	}
	if !s.join(ctx, c, request) {
		return
	}
	defer s.release(c.view)
	defer c.view.lost(c) //nolint:contextcheck // a view works in its own lifetime, not in one client's
	for {
		m, err := c.readOne(ctx, lostAfterPings*s.PingEvery)
		if err != nil || c.out.finished() {
			return
		}
		if _, leaving := m.(signaling.Leave); leaving {
			c.view.left(c) //nolint:contextcheck // a view works in its own lifetime, not in one client's
			s.takeOut(ctx, c)
			return
		}
		if err := s.handle(ctx, c, m); err != nil && c.strike(err, m.Type()) != nil {
			return
		}
	}
}

// noJoin notes a socket that did not join. Anybody can open one, and a flood must not fill the log: it has some of them.
func (s *Server) noJoin(c *client) {
	s.metrics.joins.WithLabelValues(refusedNoJoin).Inc()
	s.noJoins.Do(func() { s.Log.Warn().Str("code", refusedNoJoin).Stringer("remote", c.remote).Msg("join refused") })
}

// audit notes a refused join; what a token said is known only if it was good. A participant who comes back again and again
// must not fill the log and has some lines; lines about refused tokens are bounded by address already.
func (s *Server) audit(c *client, err error) {
	code := codeOf(err)
	s.metrics.joins.WithLabelValues(code).Inc()
	bounded := c.grant.Participant == "" && access.RefusalCode(err) != ""
	if !bounded && s.paces.refusals.Take(personOf(c.grant)) > 0 {
		return
	}
	if code == codeUnavailable {
		c.log.Error().Err(err).Msg("join failed")
	}
	s.Log.Warn().Str("code", code).Stringer("remote", c.remote).Str("tenant", c.grant.Tenant).
		Str("encounter", c.grant.Encounter).Str("participant", c.grant.Participant).Msg("join refused")
}

// join lets a client in, or tells it why not.
func (s *Server) join(ctx context.Context, c *client, request signaling.Join) bool {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	throttled := !s.throttle.Allow(c.remote)
	if throttled {
		ctx = access.WithMetIssuers(ctx)
	}
	expired, err := s.verify(ctx, c, request)
	if err == nil && s.paces.joins.Take(personOf(c.grant)) > 0 {
		err = errPace
	}
	if err == nil {
		err = s.admit(ctx, c, request, expired)
	}
	if err == nil {
		return true
	}
	s.refuseJoin(c, err, throttled)
	return false
}

// verify takes a client's grant from its token. One that expired during the visit is good for going on with a
// session only, and expired is then its refusal for all else.
func (s *Server) verify(ctx context.Context, c *client, request signaling.Join) (expired, err error) {
	grant, err := s.verifier.Join(ctx, request.Token)
	if request.Resume != "" && access.RefusalCode(err) == access.CodeExpired {
		expired = err
		grant, err = s.verifier.Resume(ctx, request.Token)
	}
	if err != nil {
		return nil, err
	}
	c.grant = grant
	c.log = s.Log.With().Str("tenant", grant.Tenant).Str("encounter", grant.Encounter).
		Str("participant", grant.Participant).Logger()
	if expired == nil {
		c.leaveLobby()
	}
	return expired, nil
}

// refuseJoin tells a client why it cannot join. An address that presented too many bad tokens hears only that.
func (s *Server) refuseJoin(c *client, err error, throttled bool) {
	status, isToken := closeRefused, access.RefusalCode(err) != ""
	about := (signaling.Join{}).Type()
	switch {
	case isToken && throttled:
		s.metrics.joins.WithLabelValues(refusedThrottled).Inc() // and no line: a flood must not fill the log
		c.refuse(signaling.Error{Code: codeThrottled, Message: "too many refused tokens", About: about}, closeThrottled)
		return
	case isToken:
		s.throttle.Failed(c.remote)
		status = closeToken
	case errors.Is(err, errPace):
		status = closeThrottled
	case codeOf(err) == codeUnavailable:
		status = websocket.StatusTryAgainLater
	}
	s.audit(c, err)
	c.refuse(signaling.Error{Code: codeOf(err), Message: explain(err), About: about}, status)
}

// admit writes the session into the record and takes the client into the encounter's view. A token that has
// expired can go on with a session, but not begin one.
func (s *Server) admit(ctx context.Context, c *client, request signaling.Join, expired error) error {
	key := encounter.Key{Tenant: c.grant.Tenant, ID: c.grant.Encounter}
	defer s.expect(request.Resume)()
	record, resumed, err := s.resume(ctx, c, key, request.Resume)
	if err != nil {
		return err
	}
	if !resumed && expired != nil {
		return expired
	}
	if !resumed {
		c.session = uuid.NewString()
		defer s.expect(c.session)()
		record, err = s.enroll(ctx, c.grant, key, c.session, encounter.Browser, s.peers.measured(request.RTT))
		if err != nil {
			return err
		}
	}
	c.leaveLobby()
	// Twice the limit, so that a message a little too large is answered and only a huge one cuts.
	c.conn.SetReadLimit(2 * signaling.MaxMessageBytes)
	c.log = c.log.With().Str("session", c.session).Logger()
	c.rtt = request.RTT
	if resumed {
		c.knownLeg = request.Leg
	}
	c.view = s.acquire(key)
	c.view.welcome(c, record, resumed)
	result := "ok"
	if resumed {
		result = "resumed"
	}
	s.metrics.joins.WithLabelValues(result).Inc()
	c.log.Info().Str("role", string(c.grant.Role)).Bool("resumed", resumed).Msg("joined")
	return nil
}

// resume continues a session that the record still holds for this participant, in the role it began with: a token with
// another role, which may even have expired, begins a session of its own or none.
func (s *Server) resume(ctx context.Context, c *client, key encounter.Key, session string) (encounter.Encounter, bool, error) {
	if session == "" {
		return encounter.Encounter{}, false, nil
	}
	record, err := encounter.Change(ctx, s.Store, key, func(e *encounter.Encounter) error {
		p := e.Participants[c.grant.Participant]
		held, ok := p.Sessions[session]
		if ok && !e.HasEnded() && (held.Kind != encounter.Browser || p.Role != c.grant.Role) {
			return encounter.ErrUnknownParticipant
		}
		if err := keepsPromise(e, c.grant); err != nil {
			return err
		}
		return e.Resume(c.grant.Participant, session, s.ID)
	})
	switch {
	case err == nil:
		c.session = session
		return record, true, nil
	case errors.Is(err, encounter.ErrUnknownParticipant), errors.Is(err, encounter.ErrNotFound):
		return encounter.Encounter{}, false, nil // the client joins anew
	}
	return encounter.Encounter{}, false, err
}

// keepsPromise refuses a token that says end-to-end encrypted for an encounter that is not: who holds it would talk in
// the clear without knowing. An encounter that is encrypted is so for every token.
func keepsPromise(e *encounter.Encounter, g access.Grant) error {
	if g.E2EE && !e.E2EE {
		return encounter.ErrNotEncrypted
	}
	return nil
}

// enroll writes a new session into the record of an encounter, which comes to life if it is the first.
func (s *Server) enroll(
	ctx context.Context, g access.Grant, key encounter.Key, session string, kind encounter.SessionKind, rtt map[string]float64,
) (encounter.Encounter, error) {
	if g.E2EE && kind != encounter.Browser { // before a record comes to life for it
		return encounter.Encounter{}, encounter.ErrEncrypted
	}
	fresh := encounter.Encounter{Key: key, Created: time.Now(), Regions: g.Regions, E2EE: g.E2EE}
	if _, err := encounter.Ensure(ctx, s.Store, fresh); err != nil {
		return encounter.Encounter{}, err
	}
	var badge []byte
	if g.Name != "" {
		shared, err := s.Keeper.Shared(ctx, secrets.RosterSecret)
		if err != nil {
			return encounter.Encounter{}, err
		}
		if badge, err = secrets.SealBadge(shared, badgeKey(key, g.Participant), g.Name); err != nil {
			return encounter.Encounter{}, fmt.Errorf("seal badge: %w", err)
		}
	}
	var replaced []string
	record, err := encounter.Change(ctx, s.Store, key, func(e *encounter.Encounter) (err error) {
		if err := keepsPromise(e, g); err != nil {
			return err
		}
		replaced, err = e.Join(g.Participant, g.Role, session, encounter.Session{Kind: kind, Gateway: s.ID}, badge, rtt, s.AutoAdmit)
		return err
	})
	if err == nil { // their gateway may be gone
		for _, id := range replaced {
			s.revoke(credentialID(key, g.Participant, id))
		}
	}
	return record, err
}
