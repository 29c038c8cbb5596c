package impair

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Sizes of the proxy.
const (
	maxDatagram = 65535
	socketBytes = 4 << 20
	maxFlows    = 1024
)

// Proxy forwards datagrams of any number of clients to one server, each from an address of its own, as a router with address
// translation does. Close ends it.
type Proxy struct {
	front  *net.UDPConn
	server netip.AddrPort
	seed   uint64

	mu       sync.Mutex
	flows    map[netip.AddrPort]*Flow
	up, down Conditions // of flows to come
	closed   bool
	running  sync.WaitGroup
}

// Flow is what one client exchanges with the server.
type Flow struct {
	proxy    *Proxy
	client   netip.AddrPort
	up, down *way

	mu   sync.Mutex
	back *net.UDPConn // towards the server
}

// Counters are what became of the packets of one direction.
type Counters struct {
	Forwarded int64 `json:"forwarded"`
	Dropped   int64 `json:"dropped"`
}

// Plus adds.
func (c Counters) Plus(more Counters) Counters {
	return Counters{Forwarded: c.Forwarded + more.Forwarded, Dropped: c.Dropped + more.Dropped}
}

// Listen opens a proxy at an address for a server at another one. Equal seeds decide equally.
func Listen(address, server string, seed uint64) (*Proxy, error) {
	to, err := netip.ParseAddrPort(server)
	if err != nil {
		return nil, fmt.Errorf("server %q: %w", server, err)
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", address, err)
	}
	front, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	_ = front.SetReadBuffer(socketBytes) // what the system gives has to do
	p := &Proxy{front: front, server: to, seed: seed, flows: make(map[netip.AddrPort]*Flow)}
	p.running.Go(p.receive)
	return p, nil
}

// Addr is where clients reach the proxy.
func (p *Proxy) Addr() netip.AddrPort {
	address, ok := p.front.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return address.AddrPort()
}

// Set gives all flows, and those to come, these conditions.
func (p *Proxy) Set(up, down Conditions) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.up, p.down = up, down
	for _, flow := range p.flows {
		flow.Set(up, down)
	}
}

// Flows returns those there are.
func (p *Proxy) Flows() []*Flow {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Values(p.flows))
}

// Close ends the proxy and waits for it.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	flows := p.flows
	p.mu.Unlock()
	err := p.front.Close()
	for _, flow := range flows {
		flow.up.end()
		flow.down.end()
		err = errors.Join(err, flow.socket().Close())
	}
	p.running.Wait()
	return err
}

// receive takes what clients send.
func (p *Proxy) receive() {
	buffer := make([]byte, maxDatagram)
	for {
		n, from, err := p.front.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP answer to what was sent: the client's socket may be gone
		}
		if flow := p.flow(netip.AddrPortFrom(from.Addr().Unmap(), from.Port())); flow != nil {
			flow.up.take(buffer[:n])
		}
	}
}

// flow finds or makes a client's flow; nil if there are too many, or the proxy is closed.
func (p *Proxy) flow(client netip.AddrPort) *Flow {
	p.mu.Lock()
	defer p.mu.Unlock()
	if flow := p.flows[client]; flow != nil || p.closed || len(p.flows) == maxFlows {
		return flow
	}
	f := &Flow{proxy: p, client: client}
	seed := p.seed + uint64(2*len(p.flows))
	f.up = newWay(seed, func(packet []byte) { _, _ = f.socket().Write(packet) })
	f.down = newWay(seed+1, func(packet []byte) { _, _ = p.front.WriteToUDPAddrPort(packet, client) })
	if err := f.open(); err != nil {
		return nil
	}
	f.Set(p.up, p.down)
	p.flows[client] = f
	p.running.Go(f.up.run)
	p.running.Go(f.down.run)
	return f
}

// Set changes the flow's conditions.
func (f *Flow) Set(up, down Conditions) {
	f.up.set(up)
	f.down.set(down)
}

// Counters are what became of what was sent so far.
func (f *Flow) Counters() (up, down Counters) { return f.up.counters(), f.down.counters() }

// Rebind has the server see the client at another address, as after a change of networks. What is under way to the old one is
// lost.
func (f *Flow) Rebind() error {
	old := f.socket()
	if err := f.open(); err != nil {
		return err
	}
	return old.Close()
}

func (f *Flow) socket() *net.UDPConn {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.back
}

// open connects a new socket to the server and reads it.
func (f *Flow) open() error {
	back, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(f.proxy.server))
	if err != nil {
		return err
	}
	_ = back.SetReadBuffer(socketBytes)
	f.mu.Lock()
	f.back = back
	f.mu.Unlock()
	f.proxy.running.Go(func() {
		buffer := make([]byte, maxDatagram)
		for {
			n, err := back.Read(buffer)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				f.down.take(buffer[:n])
			}
		}
	})
	return nil
}

// way is one direction of a flow.
type way struct {
	send func([]byte)

	mu     sync.Mutex
	link   *Link
	queue  parcels
	count  Counters
	number uint64

	wake   chan struct{}
	ctx    context.Context
	cancel context.CancelFunc
}

func newWay(seed uint64, send func([]byte)) *way {
	ctx, cancel := context.WithCancel(context.Background())
	return &way{send: send, link: NewLink(seed), wake: make(chan struct{}, 1), ctx: ctx, cancel: cancel}
}

func (w *way) set(c Conditions) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.link.Set(c)
}

func (w *way) counters() Counters {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.count
}

func (w *way) end() { w.cancel() }

// take lets a packet in. One that arrives at once, with none before it, is sent at once: a path without impairments
// should cost nothing.
func (w *way) take(packet []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	due, passes := w.link.Admit(now, len(packet))
	if !passes {
		w.count.Dropped++
		return
	}
	if !due.After(now) && len(w.queue) == 0 {
		w.count.Forwarded++
		w.send(packet)
		return
	}
	w.number++
	heap.Push(&w.queue, parcel{due, w.number, append([]byte(nil), packet...)})
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run sends what is due until the end.
func (w *way) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		w.mu.Lock()
		for len(w.queue) > 0 && !w.queue[0].due.After(time.Now()) {
			next, ok := heap.Pop(&w.queue).(parcel)
			if ok {
				w.count.Forwarded++
				w.send(next.packet)
			}
		}
		wait := time.Hour
		if len(w.queue) > 0 {
			wait = time.Until(w.queue[0].due)
		}
		w.mu.Unlock()
		timer.Reset(wait)
		select {
		case <-w.ctx.Done():
			return
		case <-w.wake:
		case <-timer.C:
		}
	}
}

// parcel is a packet under way.
type parcel struct {
	due    time.Time
	number uint64 // keeps packets due at the same time in order
	packet []byte
}

// parcels is a heap by due time.
type parcels []parcel

// Len implements heap.Interface.
func (p parcels) Len() int { return len(p) }

// Less implements heap.Interface.
func (p parcels) Less(a, b int) bool {
	if p[a].due.Equal(p[b].due) {
		return p[a].number < p[b].number
	}
	return p[a].due.Before(p[b].due)
}

// Swap implements heap.Interface.
func (p parcels) Swap(a, b int) { p[a], p[b] = p[b], p[a] }

// Push implements heap.Interface.
func (p *parcels) Push(x any) {
	if each, ok := x.(parcel); ok {
		*p = append(*p, each)
	}
}

// Pop implements heap.Interface.
func (p *parcels) Pop() any {
	old := *p
	last := old[len(old)-1]
	old[len(old)-1] = parcel{}
	*p = old[:len(old)-1]
	return last
}
