package gateway

import (
	"net"
	"net/http"
	"net/netip"
	"sync"

	"github.com/wardline/wardline/core/hangup"
)

// connections bounds what of HTTP is open: each connection costs memory and a descriptor for as long as its client keeps it,
// whether it asks for anything or not. As in the lobby, whoever has done nothing for longest makes room. Signaling sockets
// are none of them, those have the lobby itself.
type connections struct {
	lobby *lobby
	cut   func() // counts one that had to make room

	mu    sync.Mutex
	leave map[net.Conn]func()
}

func newConnections(perAddress, total int, cut func()) *connections {
	return &connections{lobby: newLobby(perAddress, total), cut: cut, leave: make(map[net.Conn]func())}
}

// follow is a http.Server's ConnState.
func (c *connections) follow(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if leave := c.leave[conn]; leave != nil {
		leave()
		delete(c.leave, conn)
	}
	if state == http.StateHijacked || state == http.StateClosed {
		return
	}
	remote, _ := netip.ParseAddrPort(conn.RemoteAddr().String()) // the zero address is an address like any other
	c.leave[conn] = c.lobby.enter(remote.Addr(), func() {
		c.cut()
		hangup.Now(conn)
	})
}
