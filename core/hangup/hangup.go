// Package hangup ends connections without a word to whoever is at the other end, and without waiting for them.
package hangup

import (
	"crypto/tls"
	"net"
)

// Now closes a connection at once: the goodbye of TLS waits for a peer that may not read.
func Now(conn net.Conn) {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	_ = conn.Close()
}
