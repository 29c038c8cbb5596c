package turn

import (
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/pion/stun/v4"
	"github.com/pion/turn/v5"
	"github.com/rs/zerolog"
)

// guard stands between one socket and the engine and settles what the engine cannot: which of two valid
// secrets made a credential, refusals of peers with 403 on every method (the engine answers 401 to a
// channel bind), relayed transports other than UDP, and credentials that end during a visit.
type guard struct {
	credentials *credentials
	allowPeer   func(netip.AddrPort) bool
	metrics     *metrics
	log         zerolog.Logger
	transport   string
	// onVerified is called for each request with valid credentials; may be nil.
	onVerified func()

	// message and verified belong to the engine's reading goroutine, which also handles what it read.
	message  stun.Message
	verified credential

	mu sync.Mutex
	// sessions are the credentials that allocations were made with. They stay valid there even
	// after their time, as with coturn: no call may end because it outlasts its credentials.
	sessions map[netip.AddrPort]credential
}

func newGuard(s *Server, transport string, onVerified func()) *guard {
	return &guard{
		credentials: s.credentials, allowPeer: s.config.AllowPeer, metrics: s.metrics, log: s.config.Log,
		transport: transport, onVerified: onVerified, sessions: make(map[netip.AddrPort]credential),
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
		reply := c.guard.inspect(p[:n], addrPort(source))
		if reply == nil {
			return n, source, nil
		}
		// A lost answer is repeated when the client repeats its request.
		_, _ = c.WriteTo(reply, source)
	}
}

// inspect returns the answer to a message that the guard refuses and nil for one that goes to the engine.
func (g *guard) inspect(packet []byte, source netip.AddrPort) (reply []byte) {
	g.verified = credential{}
	m := &g.message
	if !g.decodeRequest(packet) || !m.Contains(stun.AttrMessageIntegrity) {
		return nil // media, indications and unauthenticated requests
	}
	verified, err := g.verify(m, source)
	if err != nil {
		// The engine refuses it with 401 or 438, since authenticate finds no verified credential.
		g.metrics.authFailures.WithLabelValues(authFailureReason(err)).Inc()
		g.log.Debug().Err(err).Str("transport", g.transport).Msg("credentials refused")
		return nil
	}
	if g.onVerified != nil {
		g.onVerified()
	}
	g.verified = verified
	code := g.refusal(m)
	if code == 0 {
		return nil
	}
	return refuse(m, code, verified.key)
}

// decodeRequest parses the packet into g.message if it is a STUN request.
func (g *guard) decodeRequest(packet []byte) bool {
	if !stun.IsMessage(packet) {
		return false
	}
	g.message.Raw = append(g.message.Raw[:0], packet...)
	return g.message.Decode() == nil && g.message.Type.Class == stun.ClassRequest
}

func (g *guard) verify(m *stun.Message, source netip.AddrPort) (credential, error) {
	g.mu.Lock()
	session, found := g.sessions[source]
	g.mu.Unlock()
	if found && session.matches(m) {
		return session, nil
	}
	return g.credentials.verify(m)
}

// refusal returns the error code for a request with valid credentials that must not reach the engine.
func (g *guard) refusal(m *stun.Message) stun.ErrorCode {
	switch m.Type.Method {
	case stun.MethodAllocate:
		if transport, err := m.Get(stun.AttrRequestedTransport); err == nil && len(transport) == 4 && transport[0] != protocolUDP {
			return stun.CodeUnsupportedTransProto
		}
	case stun.MethodCreatePermission, stun.MethodChannelBind:
		if !g.peersAllowed(m) {
			g.metrics.refusedPeers.Inc()
			return stun.CodeForbidden
		}
	default:
	}
	return 0
}

// protocolUDP is UDP's number in REQUESTED-TRANSPORT.
const protocolUDP = 17

// peersAllowed looks at all peers of a request.
func (g *guard) peersAllowed(m *stun.Message) bool {
	allowed := true
	// A peer that does not parse is left to the engine, which answers 400.
	_ = m.ForEach(stun.AttrXORPeerAddress, func(m *stun.Message) error {
		var peer stun.XORMappedAddress
		if err := peer.GetFromAs(m, stun.AttrXORPeerAddress); err != nil {
			return err
		}
		address, _ := netip.AddrFromSlice(peer.IP)
		allowed = allowed && g.peerAllowed(m.Type.Method, netip.AddrPortFrom(address.Unmap(), uint16(peer.Port)))
		return nil
	})
	return allowed
}

// peerAllowed looks at one peer. A permission covers every port of its address (RFC 8656, section 9), a channel
// one. Clients that come from RTP without multiplexing, coturn's among them, also bind the RTCP port after
// an allowed one: they may, although the relayed address drops what they send there.
func (g *guard) peerAllowed(method stun.Method, peer netip.AddrPort) bool {
	if method == stun.MethodCreatePermission {
		return g.allowPeer(netip.AddrPortFrom(peer.Addr(), 0))
	}
	return g.allowPeer(peer) || peer.Port() > 1 && g.allowPeer(netip.AddrPortFrom(peer.Addr(), peer.Port()-1))
}

// refuse builds a signed error response, nil if that fails.
func refuse(m *stun.Message, code stun.ErrorCode, key stun.MessageIntegrity) []byte {
	response, err := stun.Build(
		stun.NewTransactionIDSetter(m.TransactionID), stun.NewType(m.Type.Method, stun.ClassErrorResponse), code, key,
	)
	if err != nil {
		return nil
	}
	return response.Raw
}

// authenticate tells the engine whose request it is handling. It takes the verified credential from inspect,
// which ran just before on the same goroutine.
func (g *guard) authenticate(*turn.RequestAttributes) (user string, key []byte, ok bool) {
	if g.verified.key == nil {
		return "", nil, false
	}
	return g.verified.user(), g.verified.key, true
}

// events keeps the sessions and counts allocations.
func (g *guard) events() turn.EventHandler {
	return turn.EventHandler{
		OnAllocationCreated: func(source, _ net.Addr, _, _, _ string, _ net.Addr, _ int) {
			g.metrics.allocationsMade.WithLabelValues(g.transport).Inc()
			g.mu.Lock()
			defer g.mu.Unlock()
			g.sessions[addrPort(source)] = g.verified
		},
		OnAllocationDeleted: func(source, _ net.Addr, _, _, _ string) {
			g.mu.Lock()
			defer g.mu.Unlock()
			delete(g.sessions, addrPort(source))
		},
	}
}

// credential is a user name and its key (RFC 8489, section 9.2.2).
type credential struct {
	username string
	key      stun.MessageIntegrity
}

// user is the id in "<unix seconds>:<id>", so that renewed credentials stay the same user.
func (c credential) user() string {
	_, id, _ := strings.Cut(c.username, ":")
	return id
}

// matches says whether the request carries this credential.
func (c credential) matches(m *stun.Message) bool {
	var username stun.Username
	return username.GetFrom(m) == nil && username.String() == c.username && c.key.Check(m) == nil
}
