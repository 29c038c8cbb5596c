package turn

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/wardline/wardline/core/revocation"
	"github.com/wardline/wardline/edge/udp"
)

// Reasons why no relayed address is given.
var (
	errDraining = errors.New("the relay is draining")
	errFull     = errors.New("the relay has as many allocations as it may")
	errQuota    = errors.New("the user has as many allocations as it may")
	errNoPort   = errors.New("no relay port is free")
	errFamily   = errors.New("address family is not relayed")
	errTCPRelay = errors.New("relaying over TCP (RFC 6062) is not offered")
)

// sessionsAtOnce is how many sessions with all their allocations a participant may have at a relay: one on each side of a reload, and
// players beside them. Anybody with a good token can have any number of sessions, each with credentials of its own.
const sessionsAtOnce = 4

// portTries bounds the search for a free relay port.
const portTries = 512

// relays gives out relayed addresses, keeps count of them, and relays only what AllowPeer accepts.
type relays struct {
	minPort, maxPort    uint16
	host                string // bound
	advertised          netip.Addr
	allowPeer           func(netip.AddrPort) bool
	metrics             *metrics
	draining            *atomic.Bool
	maxTotal, maxByUser int

	unclosed sync.WaitGroup

	mu     sync.Mutex
	total  int
	byUser map[string]int
	// byHolder counts those of all sessions of a participant, who gets another user name with each.
	byHolder map[string]int
	// live are the addresses of allocations by user, denied the users who may have none.
	live   map[string]map[*relayConn]struct{}
	denied *revocation.List
}

func newRelays(config Config, listen netip.Addr, m *metrics, draining *atomic.Bool) *relays {
	host := ""
	if !listen.IsUnspecified() && listen.Is4() == config.RelayIP.Is4() {
		host = listen.String()
	}
	return &relays{
		minPort: config.MinPort, maxPort: config.MaxPort, host: host, advertised: config.RelayIP,
		allowPeer: config.AllowPeer, metrics: m, draining: draining,
		maxTotal: config.MaxAllocations, maxByUser: config.MaxAllocationsPerUser, byUser: make(map[string]int),
		byHolder: make(map[string]int),
		live:     make(map[string]map[*relayConn]struct{}), denied: revocation.NewList(maxRevocations),
	}
}

// open opens a relayed address and returns it as clients and peers see it. Without a user it does not count.
func (r *relays) open(user string, port int) (*relayConn, *net.UDPAddr, error) {
	conn, err := r.allocate(user, port)
	if err != nil {
		r.metrics.allocationFailures.WithLabelValues(allocationFailureReason(err)).Inc()
		return nil, nil, err
	}
	relayed := netip.AddrPortFrom(r.advertised, addrPort(conn.LocalAddr()).Port())
	return conn, net.UDPAddrFromAddrPort(relayed), nil
}

func (r *relays) allocate(user string, port int) (*relayConn, error) {
	if err := r.take(user); err != nil {
		return nil, err
	}
	network := "udp6"
	if r.advertised.Is4() {
		network = "udp4"
	}
	conn, err := r.listen(network, port)
	if err != nil {
		r.give(user)
		return nil, err
	}
	r.unclosed.Add(1)
	return &relayConn{UDPConn: conn, relays: r, user: user}, nil
}

// listen binds the requested port, or with 0 the first free one after a random port of the range.
func (r *relays) listen(network string, requested int) (*net.UDPConn, error) {
	size := int(r.maxPort) - int(r.minPort) + 1
	offset, tries := rand.IntN(size), min(size, portTries) //nolint:gosec // a port is no secret: AllowPeer protects it
	if requested != 0 {
		offset, tries = requested-int(r.minPort), 1
		if offset < 0 || offset >= size {
			return nil, fmt.Errorf("%w: %d is outside %d to %d", errNoPort, requested, r.minPort, r.maxPort)
		}
	}
	var failure error
	for try := range tries {
		port := int(r.minPort) + (offset+try)%size
		address, err := net.ResolveUDPAddr(network, net.JoinHostPort(r.host, strconv.Itoa(port)))
		if err != nil {
			return nil, fmt.Errorf("relay port %d: %w", port, err)
		}
		conn, err := net.ListenUDP(network, address)
		if err == nil {
			return conn, nil
		}
		failure = err
	}
	return nil, fmt.Errorf("%w after %d tries: %w", errNoPort, tries, failure)
}

// withinQuota says whether the user may have another allocation.
func (r *relays) withinQuota(user string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.within(user) {
		return true
	}
	r.metrics.allocationFailures.WithLabelValues(allocationFailureReason(errQuota)).Inc()
	return false
}

// within says whether neither the user nor all of its participant's have as many as they may. The caller holds the lock.
func (r *relays) within(user string) bool {
	return r.byUser[user] < r.maxByUser && r.byHolder[revocation.Holder(user)] < sessionsAtOnce*r.maxByUser
}

func (r *relays) take(user string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.draining.Load():
		return errDraining
	case r.total >= r.maxTotal:
		return errFull
	case user == "":
		return nil
	case !r.within(user):
		return errQuota
	}
	r.total++
	r.byUser[user]++
	r.byHolder[revocation.Holder(user)]++
	return nil
}

func (r *relays) give(user string) {
	if user == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total--
	r.byUser[user]--
	if r.byUser[user] == 0 {
		delete(r.byUser, user)
	}
	holder := revocation.Holder(user)
	r.byHolder[holder]--
	if r.byHolder[holder] == 0 {
		delete(r.byHolder, holder)
	}
}

func (r *relays) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.total
}

// wait returns when every relayed address is closed.
func (r *relays) wait() { r.unclosed.Wait() }

// allocationFailureReason is the label of a failed allocation.
func allocationFailureReason(err error) string {
	for reason, is := range map[string]error{
		"draining": errDraining, "capacity": errFull, "quota": errQuota, "port": errNoPort, "family": errFamily,
		"revoked": errRevoked,
	} {
		if errors.Is(err, is) {
			return reason
		}
	}
	return "other"
}

// relayConn is one relayed address. It drops datagrams to and from refused peers: a permission admits
// every port of an address, and one given earlier outlives a peer that is no longer allowed.
type relayConn struct {
	*net.UDPConn
	relays *relays
	user   string
	// onClose is called once; may be nil.
	onClose func()
	// hangUp ends the connection of the client, if it has one; may be nil.
	hangUp func()
	once   sync.Once

	inbox  *inbox // from when the engine begins to read
	outbox outbox // for the client, nil if the engine is to send by itself
	// channels are those that the engine bound.
	channels channels
}

// ReadFrom returns the next datagram from an allowed peer. Once the address is closed it ends the goroutine, which
// is the engine's and has nothing left to do: with an error it would end the allocation of its client, and the
// client may have a new one by then.
func (c *relayConn) ReadFrom(p []byte) (int, net.Addr, error) {
	if c.inbox == nil {
		reader, err := udp.NewReader(c.UDPConn)
		if err != nil {
			runtime.Goexit()
		}
		c.inbox = newInbox(reader, c.settle, c.outbox != nil && c.outbox.slow())
	}
	for {
		d, ok := c.inbox.next()
		if !ok {
			runtime.Goexit()
		}
		if c.relays.pass(fromPeer, d.Peer, len(d.Payload)) && !c.toClient(d) {
			return copy(p, d.Payload), c.inbox.from(d.Peer), nil
		}
	}
}

// toClient sends a datagram on that came from the peer of a channel. It reports false for what the engine has to look at.
func (c *relayConn) toClient(d udp.Arrival) bool {
	if c.outbox == nil {
		return false
	}
	number, ok := c.channels.number(d.Peer, d.At)
	if ok {
		_ = c.outbox.channelData(number, d.Payload) // lost like any other
	}
	return ok
}

// settle has what was relayed leave.
func (c *relayConn) settle() {
	if c.outbox != nil {
		c.outbox.flush()
	}
}

// WriteTo sends to an allowed peer; to another it does nothing and succeeds, as a network would.
func (c *relayConn) WriteTo(p []byte, address net.Addr) (int, error) {
	return c.send(p, addrPort(address))
}

func (c *relayConn) send(p []byte, peer netip.AddrPort) (int, error) {
	if !c.relays.pass(toPeer, peer, len(p)) {
		return len(p), nil
	}
	return c.WriteToUDPAddrPort(p, peer)
}

// pass counts a datagram and says whether it may be relayed.
func (r *relays) pass(d direction, peer netip.AddrPort, size int) bool {
	if !r.allowPeer(netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port())) {
		r.metrics.dropped[d].Inc()
		return false
	}
	r.metrics.packets[d].Inc()
	r.metrics.bytes[d].Add(float64(size))
	return true
}

// Close frees the address. Only the first call does anything: the engine closes some twice.
func (c *relayConn) Close() error {
	var err error
	c.once.Do(func() {
		err = c.UDPConn.Close()
		if c.onClose != nil {
			c.onClose()
		}
		c.relays.forget(c)
		c.relays.give(c.user)
		c.relays.unclosed.Done()
	})
	return err
}
