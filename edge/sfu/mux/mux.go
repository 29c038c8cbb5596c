// Package mux lets all ICE agents of a media server share one UDP port: a Mux has the ice.UDPMux of each of
// them. What an agent gets is STUN and DTLS; media goes past it, to a Receiver.
//
// An agent is found by its user name fragment, which a peer's connectivity checks name, until it answers
// one: the answer binds the peer's address to it, and whatever comes from there afterwards is the agent's. Only an
// agent knows whether a check is genuine, so that nobody gets an address bound who does not know the password. An agent that
// restarts keeps its addresses: its peer sends media on the old path until there is a new one (RFC 8445, section 9).
package mux

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wardline/wardline/edge/dtlssrtp"
	"github.com/wardline/wardline/edge/udp"
)

// Receiver takes the media of a connection.
type Receiver interface {
	// Receive takes SRTP and SRTCP packets that came from an address of the connection, genuine or not. They may be changed,
	// and are valid until Receive returns; what is added to out leaves soon after that. Called by the goroutines that
	// read the port: several at a time if the peer uses several addresses.
	Receive(packets []udp.Datagram, out *udp.Batch)
}

// Mux is the agents of one port.
type Mux struct {
	port     *udp.Conn
	announce []net.Addr
	received chan error
	awake    func()

	buffers            sync.Pool // of *buffer
	batches            sync.Pool // of *udp.Batch, each for one datagram
	unrouted, overflow atomic.Uint64

	mu        sync.RWMutex
	agents    map[agentKey]*agent
	addresses map[netip.AddrPort]*agent
	sources   map[uint32]*View // by SSRC
	closed    bool
}

// agentKey names an agent's half for one family of addresses, as pion wants them apart.
type agentKey struct {
	fragment string
	v6       bool
}

// New serves a port, which it closes in the end. announce lists the addresses that agents announce as theirs. awake is called when
// something that came has been handled, by the goroutines that read the port.
func New(port *udp.Conn, announce []netip.AddrPort, awake func()) *Mux {
	m := &Mux{
		port: port, received: make(chan error, 1), awake: awake,
		agents: make(map[agentKey]*agent), addresses: make(map[netip.AddrPort]*agent), sources: make(map[uint32]*View),
	}
	m.buffers.New = func() any { return &buffer{data: make([]byte, 0, bufferSize)} }
	m.batches.New = func() any { return port.NewBatch() }
	for _, address := range announce {
		m.announce = append(m.announce, net.UDPAddrFromAddrPort(address))
	}
	go func() { m.received <- port.Receive(m.dispatch) }()
	return m
}

// View is the Mux as the ICE agents of one connection see it. It implements ice.UDPMux.
type View struct {
	mux      *Mux
	receiver Receiver
	sources  []uint32                  // guarded by the Mux, as is left
	left     map[bool][]netip.AddrPort // addresses of the agent that ended last, by whether it was for IPv6; guarded by the Mux
}

// For is the Mux for the agents of the connection whose media receiver takes.
func (m *Mux) For(receiver Receiver) *View {
	return &View{mux: m, receiver: receiver, left: make(map[bool][]netip.AddrPort)}
}

// GetListenAddresses implements ice.UDPMux.
func (v *View) GetListenAddresses() []net.Addr { return v.mux.announce }

// Close implements ice.UDPMux: agents close what they got of it.
func (v *View) Close() error { return nil }

// GetConn implements ice.UDPMux. What it returns for one fragment and family, for several announced
// addresses, are handles of one agent. All have to be closed.
func (v *View) GetConn(fragment string, announced net.Addr) (net.PacketConn, error) {
	m := v.mux
	address, ok := announced.(*net.UDPAddr)
	if !ok {
		return nil, net.InvalidAddrError("not a UDP address")
	}
	key := agentKey{fragment: fragment, v6: address.IP.To4() == nil}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, io.ErrClosedPipe
	}
	a := m.agents[key]
	if a == nil {
		a = &agent{mux: m, key: key, view: v}
		m.agents[key] = a
		v.inherit(a)
	}
	return a.open(), nil
}

// inherit gives an agent the addresses of the one before it that nobody else has by now.
func (v *View) inherit(a *agent) {
	for _, address := range v.left[a.key.v6] {
		if v.mux.addresses[address] == nil {
			v.mux.addresses[address] = a
			a.bound = append(a.bound, address)
		}
	}
	delete(v.left, a.key.v6)
}

// RemoveConnByUfrag implements ice.UDPMux.
func (v *View) RemoveConnByUfrag(fragment string) {
	m := v.mux
	for _, v6 := range []bool{false, true} {
		m.mu.Lock()
		if a := m.agents[agentKey{fragment, v6}]; a != nil {
			m.forgetLocked(a)
		}
		m.mu.Unlock()
	}
}

// forget removes an agent whose last handle was closed.
func (m *Mux) forget(a *agent) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forgetLocked(a)
}

func (m *Mux) forgetLocked(a *agent) {
	if m.agents[a.key] == a {
		delete(m.agents, a.key)
	}
	if a.gone {
		return
	}
	for _, address := range a.bound {
		delete(m.addresses, address)
	}
	a.view.left[a.key.v6] = a.bound
	a.bound, a.gone = nil, true
}

// maxBound is how many addresses an agent has at most: those of one client on all its networks. Beyond it the
// oldest is given up.
const maxBound = 32

// bind makes an address an agent's. One that is another's already changes hands only for an answered
// check: the client there has begun anew.
func (m *Mux) bind(a *agent, address netip.AddrPort, answered bool) {
	m.mu.RLock()
	owner := m.addresses[address]
	m.mu.RUnlock()
	if owner == a || owner != nil && !answered {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if a.gone || m.closed {
		return
	}
	if owner = m.addresses[address]; owner != nil {
		owner.unbind(address)
	}
	if len(a.bound) == maxBound {
		delete(m.addresses, a.bound[0])
		a.unbind(a.bound[0])
	}
	a.bound = append(a.bound, address)
	m.addresses[address] = a
}

// dispatch hands received datagrams to where they belong, those from one address together.
func (m *Mux) dispatch(batch []udp.Datagram, out *udp.Batch) {
	for len(batch) > 0 {
		a, n := m.leading(batch)
		switch {
		case a == nil:
			m.stray(batch[:n], out)
		case dtlssrtp.IsMedia(batch[0].Payload):
			a.view.receiver.Receive(batch[:n], out)
		default:
			if lost := a.push(batch[:n]); lost > 0 {
				m.overflow.Add(uint64(lost))
			}
		}
		batch = batch[n:]
	}
	m.awake()
}

// leading finds the agent of the first datagram, nil if it is nobody's, and how many of the same kind follow from the same
// address that are the same agent's.
func (m *Mux) leading(batch []udp.Datagram) (*agent, int) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	first, media := m.owner(batch[0]), dtlssrtp.IsMedia(batch[0].Payload)
	n := 1
	for n < len(batch) && batch[n].Peer == batch[0].Peer && dtlssrtp.IsMedia(batch[n].Payload) == media &&
		(media || m.owner(batch[n]) == first) {
		n++
	}
	return first, n
}

// owner finds the agent of a datagram. A check says whose it is, also on an address that was somebody else's before.
func (m *Mux) owner(d udp.Datagram) *agent {
	if fragment, ok := checkedFragment(d.Payload); ok {
		return m.agents[agentKey{string(fragment), d.Peer.Addr().Is6()}]
	}
	return m.addresses[d.Peer]
}

// Send queues media for an address, as udp.Conn does.
func (m *Mux) Send(packet []byte, to netip.AddrPort, class udp.Class) error {
	return m.port.Send(packet, to, class)
}

// write sends a datagram of an agent's at once: alone, it would be all that the queue's goroutine wakes up for.
func (m *Mux) write(datagram []byte, to netip.AddrPort) (int, error) {
	out, ok := m.batches.Get().(*udp.Batch)
	if !ok {
		return 0, io.ErrClosedPipe
	}
	defer m.batches.Put(out)
	if err := out.Add(datagram, to, udp.Other); err != nil {
		return 0, err
	}
	out.Flush()
	return len(datagram), nil
}

// NewBatch makes a batch of the port.
func (m *Mux) NewBatch() *udp.Batch { return m.port.NewBatch() }

// Collector returns the metrics of the port, see udp.Conn.
func (m *Mux) Collector(subsystem string) prometheus.Collector { return m.port.Collector(subsystem) }

// Unrouted is how many datagrams came for no agent.
func (m *Mux) Unrouted() uint64 { return m.unrouted.Load() }

// Overflow is how many datagrams were lost because their agent had too many waiting.
func (m *Mux) Overflow() uint64 { return m.overflow.Load() }

// Close closes the port and all handles.
func (m *Mux) Close() error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil
	}
	m.closed = true
	agents := make([]*agent, 0, len(m.agents))
	for _, a := range m.agents {
		agents = append(agents, a)
	}
	m.mu.Unlock()
	err := m.port.Close()
	err = errors.Join(err, <-m.received)
	for _, a := range agents {
		a.closeAll()
	}
	return err
}
