//go:build !linux

package udp

import "net"

func systemSource(conn *net.UDPConn) (source, error) { return newSingle(conn, &counters{}), nil }
