package turn

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/stun/v3"
	"github.com/rs/zerolog"
)

// guard stands between one socket and the engine and settles what the engine cannot: which of two valid
// secrets made a credential and whose allocation a request may touch, which peers and address families are
// refused and with which answer, messages and moments that would crash the engine, and credentials that end
// during a visit. It decides before the engine sees a request; the engine then checks the nonce, asks
// authenticate, and refuses; and answer puts the right code and a signature into the refusal.
type guard struct {
	credentials *credentials
	relays      *relays
	metrics     *metrics
	log         zerolog.Logger
	transport   string
	// onVerified is called for each request with valid credentials, which counts only if it returns true; may be nil.
	onVerified func(user string) bool
	// hangUp ends the client's connection; nil over UDP, which has none.
	hangUp func()
	// outbox makes one for a client; may be nil.
	outbox   func(client netip.AddrPort) outbox
	sessions sessions

	// current and response belong to the engine's reading goroutine, which also handles and answers what it read.
	current  request
	response stun.Message
}

// request is what the guard knows of the request that the engine is handling.
type request struct {
	message  stun.Message
	source   netip.AddrPort
	received time.Time
	verified credential
	verdict  stun.ErrorCode // why it is refused, 0 if it is not
	refused  bool           // the engine has been told so
	admitted bool           // it is within its quota: the next relayed address is the client's
}

func newGuard(s *Server, transport string, onVerified func(user string) bool) *guard {
	return &guard{
		credentials: s.credentials, relays: s.relays, metrics: s.metrics, log: s.config.Log,
		transport: transport, onVerified: onVerified,
		sessions: sessions{bySource: make(map[netip.AddrPort]*session)},
	}
}

// guardedConn is the socket as the engine sees it.
type guardedConn struct {
	net.PacketConn
	guard  *guard
	once   sync.Once
	closed chan struct{} // closed when reading failed, which ends the engine
}

// ReadFrom returns the next message that is for the engine, after answering those that are not.
func (c *guardedConn) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, source, err := c.PacketConn.ReadFrom(p)
		if err != nil {
			c.once.Do(func() { close(c.closed) })
			return n, source, err
		}
		size, reply := c.guard.inspect(p[:n], addrPort(source))
		if reply != nil {
			// A lost answer is repeated when the client repeats its request.
			_, _ = c.PacketConn.WriteTo(reply, source)
		}
		if size > 0 {
			return size, source, nil
		}
	}
}

// WriteTo sends what the engine says, refusals as they should be, and what peers sent with the rest that came with it.
func (c *guardedConn) WriteTo(p []byte, client net.Addr) (int, error) {
	if isData(p) {
		if relayed := c.guard.sessions.relayed(addrPort(client)); relayed != nil && relayed.outbox != nil {
			return len(p), relayed.outbox.message(p)
		}
	}
	if _, err := c.PacketConn.WriteTo(c.guard.answer(p), client); err != nil {
		return 0, err
	}
	return len(p), nil
}

// sendIndication is the type of messages that carry data to a peer, unauthenticated.
var sendIndication = stun.NewType(stun.MethodSend, stun.ClassIndication)

// inspect decides about a message: the engine gets its first size bytes, none with 0; a reply is sent by the guard.
func (g *guard) inspect(packet []byte, source netip.AddrPort) (size int, reply []byte) {
	c := &g.current
	*c = request{message: c.message, source: source, received: time.Now()}
	if !stun.IsMessage(packet) || packet[0]>>6 != 0 {
		if g.toPeer(packet, source) {
			return 0, nil
		}
		return len(packet), nil // media outside any channel
	}
	m := &c.message
	m.Raw = append(m.Raw[:0], packet...)
	switch {
	case m.Decode() != nil:
		return 0, nil
	case m.Type == sendIndication && !wellFormedPeers(m):
		return 0, nil
	case !authenticated(m.Type):
		return len(packet), nil
	case !m.Contains(stun.AttrMessageIntegrity):
		return challenge(packet), nil
	}
	verified, err := g.verify(m, source)
	if err != nil {
		return g.unverified(packet, err), nil
	}
	c.verified = verified
	if g.relays.revoked(verified.user()) {
		g.metrics.authFailures.WithLabelValues(authFailureReason(errRevoked)).Inc()
		return 0, g.refusal(revokedCode(m.Type.Method))
	}
	if g.onVerified != nil && !g.onVerified(verified.user()) {
		return 0, nil
	}
	if c.verdict = g.decide(m); c.verdict == stun.CodeAllocMismatch {
		// The engine says nothing at all to most requests about an allocation that does not exist.
		return 0, g.refusal(c.verdict)
	}
	return len(packet), nil
}

// unverified settles how much the engine gets of a request without credentials that are known to be good.
func (g *guard) unverified(packet []byte, err error) (size int) {
	if errors.Is(err, errLooking) {
		return 0 // the client repeats its request
	}
	g.metrics.authFailures.WithLabelValues(authFailureReason(err)).Inc()
	g.log.Debug().Err(err).Str("transport", g.transport).Msg("credentials refused")
	if errors.Is(err, errAttribute) {
		return len(packet) // the engine answers 400 as well
	}
	return challenge(packet)
}

// authenticated says whether messages of the type need credentials.
func authenticated(t stun.MessageType) bool {
	if t.Class != stun.ClassRequest {
		return false
	}
	switch t.Method {
	case stun.MethodAllocate, stun.MethodRefresh, stun.MethodCreatePermission, stun.MethodChannelBind:
		return true
	default:
		return false
	}
}

// challenge turns a request without valid credentials into one that the engine answers with 401 and a nonce
// for every method and client. It returns its size.
func challenge(packet []byte) int {
	binary.BigEndian.PutUint16(packet, stun.NewType(stun.MethodAllocate, stun.ClassRequest).Value())
	binary.BigEndian.PutUint16(packet[2:], 0)
	return stunHeader
}

// verify returns the credential of a request. Only who has a connection to itself waits for the secret: others' media would wait too.
func (g *guard) verify(m *stun.Message, source netip.AddrPort) (credential, error) {
	if session, found := g.sessions.get(source); found && session.personal() && session.matches(m) {
		return session.credential, nil
	}
	return g.credentials.verify(m, g.hangUp != nil)
}

// authenticate tells the engine whose request it is handling. The engine calls it after checking the nonce.
func (g *guard) authenticate(string, string, net.Addr) (key []byte, ok bool) {
	c := &g.current
	if c.verdict != 0 {
		g.refuse(c.verdict)
	}
	return c.verified.key, c.verified.key != nil && !c.refused
}

// permit looks at the allocation's remaining life once more, immediately before the engine adds a permission.
func (g *guard) permit(net.Addr, net.IP) bool {
	if session, _ := g.sessions.get(g.current.source); !session.usable(time.Now()) {
		g.refuse(stun.CodeAllocMismatch)
	}
	return !g.current.refused
}

// refuse makes answer say why the engine refuses.
func (g *guard) refuse(code stun.ErrorCode) {
	g.current.verdict, g.current.refused = code, true
	switch code {
	case stun.CodeForbidden:
		g.metrics.refusedPeers.Inc()
	case stun.CodeAddrFamilyNotSupported:
		g.metrics.allocationFailures.WithLabelValues(allocationFailureReason(errFamily)).Inc()
	default:
	}
}

// withinQuota says whether the user may have another allocation.
func (g *guard) withinQuota(string, string, net.Addr) bool {
	g.current.admitted = g.relays.withinQuota(g.current.verified.user())
	return g.current.admitted
}

// AllocatePacketConn opens a relayed address for the current request. Before it asks for the quota the engine
// only looks for an even port (EVEN-PORT) and closes it again, which does not count.
func (g *guard) AllocatePacketConn(_ string, port int) (net.PacketConn, net.Addr, error) {
	c := &g.current
	user := ""
	if c.admitted {
		user = c.verified.user()
	}
	conn, relayed, err := g.relays.open(user, port)
	if err != nil {
		return nil, nil, err
	}
	if !c.admitted {
		return conn, relayed, nil
	}
	source := c.source
	conn.onClose, conn.hangUp = func() { g.sessions.close(source, conn) }, g.hangUp
	if g.outbox != nil {
		conn.outbox = g.outbox(source)
	}
	g.sessions.open(source, c.verified, conn)
	if !g.relays.admit(conn) {
		_ = conn.Close()
		return nil, nil, errRevoked
	}
	g.metrics.allocationsMade.WithLabelValues(g.transport).Inc()
	return conn, relayed, nil
}

// AllocateConn refuses: the guard has answered 442 to such a request already.
func (g *guard) AllocateConn(string, int) (net.Conn, net.Addr, error) { return nil, nil, errTCPRelay }

// Validate is called by the engine.
func (g *guard) Validate() error { return nil }
