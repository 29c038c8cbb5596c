package udp

import (
	"net/netip"
	"sync"
)

// packet is a datagram to be sent.
type packet struct {
	data  []byte
	to    netip.AddrPort
	class Class
}

// usualSize is the room a packet starts with: what Ethernet carries.
const usualSize = 1500

// queue holds packets to be sent. Many put, one takes. Packets are used again, so that a queue that has
// seen its peak allocates nothing.
type queue struct {
	limit, videoLimit int

	mu      sync.Mutex
	filled  *sync.Cond
	waiting []*packet
	free    []*packet
	idle    bool // somebody waits to take
	sending bool // what was taken, or what who claimed it sends, is not all sent yet
	over    bool
}

func newQueue(limit int) *queue {
	q := &queue{limit: limit, videoLimit: limit - limit/4}
	q.filled = sync.NewCond(&q.mu)
	return q
}

// outcome is what became of a packet.
type outcome uint8

const (
	queued outcome = iota
	full
	ended
)

// put queues a copy of data. Video has to leave the last quarter of the room to the rest.
func (q *queue) put(data []byte, to netip.AddrPort, class Class) outcome {
	limit := q.limit
	if class == Video {
		limit = q.videoLimit
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.over:
		return ended
	case len(q.waiting) >= limit:
		return full
	}
	var p *packet
	if last := len(q.free) - 1; last >= 0 {
		p, q.free = q.free[last], q.free[:last]
	} else {
		p = &packet{data: make([]byte, 0, usualSize)}
	}
	p.data, p.to, p.class = append(p.data[:0], data...), to, class
	q.waiting = append(q.waiting, p)
	if q.idle {
		q.idle = false
		q.filled.Signal()
	}
	return queued
}

// take waits until something is queued and returns all of it. done is what take returned before; its
// packets are free from now on. It reports false once the queue has ended and is empty.
func (q *queue) take(done []*packet) ([]*packet, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.free = append(q.free, done...)
	if done != nil {
		q.sending = false
	}
	for len(q.waiting) == 0 || q.sending {
		if q.over && !q.sending {
			return nil, false
		}
		q.idle = true
		q.filled.Wait()
	}
	q.sending = true
	taken := q.waiting
	q.waiting = done[:0]
	return taken, true
}

// claim lets the caller send by itself until it calls release. False if that would overtake what waits or is just being
// sent.
func (q *queue) claim() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.sending || q.over || len(q.waiting) > 0 {
		return false
	}
	q.sending = true
	return true
}

func (q *queue) release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sending = false
	if q.idle && (q.over || len(q.waiting) > 0) {
		q.idle = false
		q.filled.Signal()
	}
}

// end lets no more in.
func (q *queue) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.over = true
	q.filled.Signal()
}

func (q *queue) depth() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}
