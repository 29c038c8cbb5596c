package gateway

import (
	"container/list"
	"net/netip"
	"sync"

	"github.com/wardline/wardline/edge/gateway/throttle"
)

// lobby bounds the sockets that have not proved who they are. A client joins as soon as its socket is open,
// so whoever has stood there longest makes room: a flood pushes itself out, not the hospital behind the
// same address.
type lobby struct {
	perAddress, total int

	mu     sync.Mutex
	seats  *list.List // of *seat, the one that came first in front
	counts map[netip.Prefix]int
}

type seat struct {
	prefix netip.Prefix
	evict  func()
}

func newLobby(perAddress, total int) *lobby {
	return &lobby{perAddress: perAddress, total: total, seats: list.New(), counts: make(map[netip.Prefix]int)}
}

// enter takes a socket in, at the cost of an older one if there is no room. leave may be called more than once,
// and evict from any goroutine; it must not wait.
func (l *lobby) enter(addr netip.Addr, evict func()) (leave func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	mine := &seat{prefix: throttle.Group(addr), evict: evict}
	if l.counts[mine.prefix] >= l.perAddress {
		l.dismiss(l.first(func(s *seat) bool { return s.prefix == mine.prefix }))
	} else if l.seats.Len() >= l.total {
		l.dismiss(l.seats.Front())
	}
	element := l.seats.PushBack(mine)
	l.counts[mine.prefix]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.remove(element)
	}
}

// first finds the oldest seat that matches.
func (l *lobby) first(matches func(*seat) bool) *list.Element {
	for e := l.seats.Front(); e != nil; e = e.Next() {
		if s, ok := e.Value.(*seat); ok && matches(s) {
			return e
		}
	}
	return nil
}

func (l *lobby) dismiss(element *list.Element) {
	if s := l.remove(element); s != nil {
		s.evict()
	}
}

// remove returns the seat that was taken out, nil if it was out already.
func (l *lobby) remove(element *list.Element) *seat {
	if element == nil {
		return nil
	}
	s, ok := element.Value.(*seat)
	if !ok {
		return nil
	}
	element.Value = nil
	l.seats.Remove(element)
	l.counts[s.prefix]--
	if l.counts[s.prefix] <= 0 {
		delete(l.counts, s.prefix)
	}
	return s
}
