package control

import (
	"container/list"
	"net"
	"net/http"
	"sync"

	"github.com/wardline/wardline/core/hangup"
)

// maxNewcomers bounds the connections that have not become a link: far more than gateways there are, and few descriptors.
const maxNewcomers = 512

// newcomers are connections that have not proved whose they are, which anybody on the network can open. Whoever has waited
// longest makes room, since a gateway takes no time.
type newcomers struct {
	mu      sync.Mutex
	waiting *list.List // of net.Conn, the one that came first in front
	places  map[net.Conn]*list.Element
}

func newNewcomers() *newcomers {
	return &newcomers{waiting: list.New(), places: make(map[net.Conn]*list.Element)}
}

// follow is a http.Server's ConnState.
func (n *newcomers) follow(conn net.Conn, state http.ConnState) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch state {
	case http.StateNew:
		if n.waiting.Len() >= maxNewcomers {
			n.dismiss()
		}
		n.places[conn] = n.waiting.PushBack(conn)
	case http.StateHijacked, http.StateClosed:
		n.remove(conn)
	case http.StateActive, http.StateIdle:
	}
}

// dismiss cuts the first one. The caller holds the lock.
func (n *newcomers) dismiss() {
	conn, ok := n.waiting.Front().Value.(net.Conn)
	if !ok {
		return
	}
	n.remove(conn)
	hangup.Now(conn)
}

func (n *newcomers) remove(conn net.Conn) {
	if place := n.places[conn]; place != nil {
		n.waiting.Remove(place)
		delete(n.places, conn)
	}
}
