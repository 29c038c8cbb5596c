package sfu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/pion/ice/v4"
	"github.com/pion/logging"
	"github.com/pion/transport/v5"
	"github.com/pion/transport/v5/stdnet"
)

// sockets are the one UDP and the one TCP port that all media passes.
type sockets struct {
	udp        *udpMux
	tcp        *tcpMux
	port       netip.AddrPort
	advertised []netip.Addr
}

// portTries is how often a free port is looked for that both UDP and TCP can have.
const portTries = 16

// listenMedia binds the media port for UDP and TCP.
func listenMedia(cfg Config, log logging.LoggerFactory) (*sockets, error) {
	var err error
	for range portTries {
		var s *sockets
		if s, err = tryListenMedia(cfg, log); err == nil {
			return s, nil
		}
		if _, port, _ := net.SplitHostPort(cfg.Media); port != "0" {
			break
		}
	}
	return nil, err
}

func tryListenMedia(cfg Config, log logging.LoggerFactory) (*sockets, error) {
	var listen net.ListenConfig
	packets, err := listen.ListenPacket(context.Background(), "udp", cfg.Media)
	if err != nil {
		return nil, fmt.Errorf("media %q: %w", cfg.Media, err)
	}
	udpAddress, ok := packets.LocalAddr().(*net.UDPAddr)
	if !ok {
		return nil, errors.Join(fmt.Errorf("media %q: no UDP address", cfg.Media), packets.Close())
	}
	address := netip.AddrPortFrom(udpAddress.AddrPort().Addr().Unmap(), udpAddress.AddrPort().Port())
	advertised, err := cfg.advertised(address.Addr())
	if err != nil {
		return nil, errors.Join(err, packets.Close())
	}
	connections, err := listen.Listen(context.Background(), "tcp", address.String())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("media %q: %w", cfg.Media, err), packets.Close())
	}
	return &sockets{
		udp:        newUDPMux(packets, address, advertised, log),
		tcp:        newTCPMux(connections, log),
		port:       address,
		advertised: advertised,
	}, nil
}

func (s *sockets) close() error { return errors.Join(s.udp.Close(), s.tcp.Close()) }

// udpMux announces the advertised addresses instead of those the socket is bound to.
type udpMux struct {
	*ice.UDPMuxDefault
	local    net.Addr
	announce []net.Addr
}

func newUDPMux(conn net.PacketConn, bound netip.AddrPort, advertised []netip.Addr, log logging.LoggerFactory) *udpMux {
	mux := &udpMux{
		UDPMuxDefault: ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: conn, Logger: log.NewLogger("udp")}),
		local:         conn.LocalAddr(),
	}
	for _, address := range advertised {
		mux.announce = append(mux.announce, net.UDPAddrFromAddrPort(netip.AddrPortFrom(address, bound.Port())))
	}
	return mux
}

// GetListenAddresses implements ice.UDPMux.
func (m *udpMux) GetListenAddresses() []net.Addr { return m.announce }

// GetConn implements ice.UDPMux. A socket bound to one address knows only that one.
func (m *udpMux) GetConn(ufrag string, announced net.Addr) (net.PacketConn, error) {
	if local, ok := m.local.(*net.UDPAddr); ok && !local.IP.IsUnspecified() {
		return m.UDPMuxDefault.GetConn(ufrag, m.local)
	}
	return m.UDPMuxDefault.GetConn(ufrag, announced)
}

// tcpMux lets a connection find its session by its ICE user name fragment alone, whichever of this
// machine's addresses it came in on: behind address translation none of them is an announced one.
type tcpMux struct{ inner *ice.TCPMuxDefault }

// Sizes of the TCP send queue of one client, and of the packets waiting to be read from it.
const (
	tcpWriteBuffer = 1 << 20
	tcpReadPackets = 64
)

func newTCPMux(listener net.Listener, log logging.LoggerFactory) *tcpMux {
	return &tcpMux{inner: ice.NewTCPMuxDefault(ice.TCPMuxParams{
		Listener:        anonymousListener{listener},
		Logger:          log.NewLogger("tcp"),
		ReadBufferSize:  tcpReadPackets,
		WriteBufferSize: tcpWriteBuffer,
	})}
}

// GetConnByUfrag implements ice.TCPMux.
func (m *tcpMux) GetConnByUfrag(ufrag string, isIPv6 bool, _ net.IP) (net.PacketConn, error) {
	return m.inner.GetConnByUfrag(ufrag, isIPv6, anonymous)
}

// RemoveConnByUfrag implements ice.TCPMux.
func (m *tcpMux) RemoveConnByUfrag(ufrag string) { m.inner.RemoveConnByUfrag(ufrag) }

// Close implements ice.TCPMux.
func (m *tcpMux) Close() error { return m.inner.Close() }

// anonymous stands for every local address.
var anonymous = net.IPv4zero

type anonymousListener struct{ net.Listener }

func (l anonymousListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return anonymousConn{conn}, nil
}

type anonymousConn struct{ net.Conn }

func (c anonymousConn) LocalAddr() net.Addr {
	if local, ok := c.Conn.LocalAddr().(*net.TCPAddr); ok {
		return &net.TCPAddr{IP: anonymous, Port: local.Port}
	}
	return c.Conn.LocalAddr()
}

// announcedNet shows pion the advertised addresses as this machine's only ones.
type announcedNet struct {
	*stdnet.Net
	interfaces []*transport.Interface
}

func newAnnouncedNet(advertised []netip.Addr) (*announcedNet, error) {
	standard, err := stdnet.NewNet()
	if err != nil {
		return nil, fmt.Errorf("network: %w", err)
	}
	announced := transport.NewInterface(net.Interface{Index: 1, Name: "announced", Flags: net.FlagUp})
	for _, address := range advertised {
		announced.AddAddress(&net.IPNet{IP: address.AsSlice(), Mask: net.CIDRMask(address.BitLen(), address.BitLen())})
	}
	return &announcedNet{Net: standard, interfaces: []*transport.Interface{announced}}, nil
}

// Interfaces implements transport.Net.
func (n *announcedNet) Interfaces() ([]*transport.Interface, error) { return n.interfaces, nil }
