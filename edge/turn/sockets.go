package turn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/wardline/wardline/edge/udp"
)

// sockets are what a relay listens on.
type sockets struct {
	udp *udp.Conn
	tcp *net.TCPListener
	tls *net.TCPListener // nil for none
}

// maxShards bounds the sockets of the UDP port, each with an engine of its own: one a processor.
const maxShards = 8

// bindTries is how often a free port is looked for that both UDP and TCP can have.
const bindTries = 16

func bind(listen, listenTLS string, log zerolog.Logger) (sockets, error) {
	address, err := parseListen(listen)
	if err != nil {
		return sockets{}, err
	}
	var s sockets
	for range bindTries {
		if s, err = bindBoth(address, log); err == nil || address.Port() != 0 {
			break
		}
	}
	if err != nil {
		return sockets{}, err
	}
	if listenTLS == "" {
		return s, nil
	}
	if address, err = parseListen(listenTLS); err == nil {
		s.tls, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(address))
	}
	if err != nil {
		s.close()
		return sockets{}, fmt.Errorf("relay over TLS: %w", err)
	}
	return s, nil
}

// bindBoth binds TCP first since its ports are the scarcer ones.
func bindBoth(address netip.AddrPort, log zerolog.Logger) (s sockets, err error) {
	if s.tcp, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(address)); err != nil {
		return sockets{}, fmt.Errorf("relay over TCP: %w", err)
	}
	bound := netip.AddrPortFrom(address.Addr(), addrPort(s.tcp.Addr()).Port())
	config := udp.Config{Shards: min(runtime.GOMAXPROCS(0), maxShards), Log: log}
	if s.udp, err = udp.Listen(context.Background(), bound.String(), config); err != nil {
		_ = s.tcp.Close()
		return sockets{}, fmt.Errorf("relay over UDP: %w", err)
	}
	return s, nil
}

// parseListen reads HOST:PORT, where an empty HOST stands for every address.
func parseListen(text string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(text)
	if err == nil && host == "" {
		text = net.JoinHostPort("::", port)
	}
	address, parseErr := netip.ParseAddrPort(text)
	if parseErr != nil {
		return netip.AddrPort{}, fmt.Errorf("relay address %q: must be IP:PORT or :PORT", text)
	}
	return address, nil
}

func (s sockets) udpAddr() netip.AddrPort { return s.udp.LocalAddr() }

func (s sockets) tlsAddr() netip.AddrPort {
	if s.tls == nil {
		return netip.AddrPort{}
	}
	return addrPort(s.tls.Addr())
}

// close may be called again.
func (s sockets) close() {
	_ = s.udp.Close()
	_ = s.tcp.Close()
	if s.tls != nil {
		_ = s.tls.Close()
	}
}

// addrPort converts the addresses of UDP and TCP sockets; others become the zero value.
func addrPort(address net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := address.(type) {
	case *net.UDPAddr:
		ap = a.AddrPort()
	case *net.TCPAddr:
		ap = a.AddrPort()
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// readRetry paces reading from a socket that keeps failing.
const readRetry = 10 * time.Millisecond

// pause waits after an error of reading, unless it tells about one datagram.
func pause(err error) {
	if !errors.Is(err, syscall.ECONNREFUSED) {
		time.Sleep(readRetry)
	}
}
