package mux

import (
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wardline/wardline/edge/udp"
)

const (
	// bufferSize is the room a datagram starts with: what Ethernet carries.
	bufferSize = 1500
	// maxWaiting bounds what waits for an agent: a second of the fastest publisher.
	maxWaiting = 2048
)

// buffer is a datagram that waits for its agent.
type buffer struct {
	data []byte
	from netip.AddrPort
	next *buffer
}

// agent is what one ICE agent receives over one family of addresses. Of its handles the oldest receives,
// so that the order of datagrams is kept; the others wait to take its place.
type agent struct {
	mux  *Mux
	key  agentKey
	view *View

	bound []netip.AddrPort // guarded by the Mux, as is gone
	gone  bool

	mu      sync.Mutex
	handles []*handle
	first   *buffer
	last    *buffer
	waiting int
}

// handle is an agent as one of its candidates sees it.
type handle struct {
	agent  *agent
	wake   *sync.Cond
	idle   bool        // waits for wake
	closed atomic.Bool // changes under the agent's lock
}

func (a *agent) open() *handle {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := &handle{agent: a, wake: sync.NewCond(&a.mu)}
	a.handles = append(a.handles, h)
	return h
}

// unbind takes an address off the list.
func (a *agent) unbind(address netip.AddrPort) {
	a.bound = slices.DeleteFunc(a.bound, func(each netip.AddrPort) bool { return each == address })
}

// push copies datagrams for whoever reads, and returns how many there was no room for.
func (a *agent) push(batch []udp.Datagram) (lost int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, d := range batch {
		if a.waiting == maxWaiting || len(a.handles) == 0 {
			lost = len(batch) - i
			break
		}
		b, ok := a.mux.buffers.Get().(*buffer)
		if !ok {
			continue
		}
		b.data, b.from, b.next = append(b.data[:0], d.Payload...), d.Peer, nil
		if a.last == nil {
			a.first = b
		} else {
			a.last.next = b
		}
		a.last = b
		a.waiting++
	}
	if a.first != nil && a.handles[0].idle {
		a.handles[0].idle = false
		a.handles[0].wake.Signal()
	}
	return lost
}

// pop waits for the next datagram of this handle. It returns nil once the handle is closed.
func (h *handle) pop() *buffer {
	a := h.agent
	a.mu.Lock()
	defer a.mu.Unlock()
	for !h.closed.Load() && (a.first == nil || a.handles[0] != h) {
		h.idle = true
		h.wake.Wait()
	}
	if h.closed.Load() {
		return nil
	}
	b := a.first
	if a.first = b.next; a.first == nil {
		a.last = nil
	}
	a.waiting--
	return b
}

// ReadFromAddrPort implements ice.AddrPortReaderWriter. It fails only when the handle is closed: an agent reads no more after an
// error. What there is no room for is dropped.
func (h *handle) ReadFromAddrPort(into []byte) (int, netip.AddrPort, error) {
	for {
		b := h.pop()
		if b == nil {
			return 0, netip.AddrPort{}, io.EOF
		}
		n, from, whole := copy(into, b.data), b.from, len(b.data) <= len(into)
		h.agent.mux.buffers.Put(b)
		if whole {
			return n, from, nil
		}
		h.agent.mux.overflow.Add(1)
	}
}

// WriteToAddrPort implements ice.AddrPortReaderWriter.
func (h *handle) WriteToAddrPort(datagram []byte, to netip.AddrPort) (int, error) {
	if h.closed.Load() {
		return 0, io.ErrClosedPipe
	}
	if isSTUN(datagram) {
		h.agent.mux.bind(h.agent, netip.AddrPortFrom(to.Addr().Unmap(), to.Port()), isSuccess(datagram))
	}
	return h.agent.mux.write(datagram, to)
}

// ReadFrom implements net.PacketConn.
func (h *handle) ReadFrom(into []byte) (int, net.Addr, error) {
	n, from, err := h.ReadFromAddrPort(into)
	if !from.IsValid() {
		return n, nil, err
	}
	return n, net.UDPAddrFromAddrPort(from), err
}

// WriteTo implements net.PacketConn.
func (h *handle) WriteTo(datagram []byte, to net.Addr) (int, error) {
	address, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, net.InvalidAddrError("not a UDP address")
	}
	return h.WriteToAddrPort(datagram, address.AddrPort())
}

// LocalAddr implements net.PacketConn.
func (h *handle) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(h.agent.mux.port.LocalAddr()) }

// SetDeadline implements net.PacketConn; Close ends what waits.
func (h *handle) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.PacketConn, as SetDeadline.
func (h *handle) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.PacketConn; nothing waits to be written.
func (h *handle) SetWriteDeadline(time.Time) error { return nil }

// Close implements net.PacketConn.
func (h *handle) Close() error {
	if h.agent.close(h) {
		h.agent.mux.forget(h.agent)
	}
	return nil
}

// close reports whether that was the last handle.
func (a *agent) close(h *handle) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if h.closed.Load() {
		return false
	}
	h.closed.Store(true)
	h.wake.Signal()
	a.handles = slices.DeleteFunc(a.handles, func(each *handle) bool { return each == h })
	if len(a.handles) > 0 {
		a.handles[0].wake.Signal() // it may be its turn now
		return false
	}
	for b := a.first; b != nil; {
		next := b.next
		a.mux.buffers.Put(b)
		b = next
	}
	a.first, a.last, a.waiting = nil, nil, 0
	return true
}

func (a *agent) closeAll() {
	a.mu.Lock()
	handles := slices.Clone(a.handles)
	a.mu.Unlock()
	for _, h := range handles {
		a.close(h)
	}
}
