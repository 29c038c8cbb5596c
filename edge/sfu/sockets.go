package sfu

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"

	"github.com/pion/ice/v4"
	"github.com/pion/logging"
	"github.com/pion/transport/v5"
	"github.com/pion/transport/v5/stdnet"
	"github.com/pion/webrtc/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/wardline/wardline/edge/sfu/mux"
	"github.com/wardline/wardline/edge/udp"
)

// sockets are the one UDP and the one TCP port that all media passes.
type sockets struct {
	udp        *mux.Mux
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
	port, err := udp.Listen(context.Background(), cfg.Media, udp.Config{Shards: min(runtime.GOMAXPROCS(0), maxShards), Log: cfg.Log})
	if err != nil {
		return nil, fmt.Errorf("media %q: %w", cfg.Media, err)
	}
	address := port.LocalAddr()
	advertised, err := cfg.advertised(address.Addr())
	if err != nil {
		return nil, errors.Join(err, port.Close())
	}
	var listen net.ListenConfig
	connections, err := listen.Listen(context.Background(), "tcp", address.String())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("media %q: %w", cfg.Media, err), port.Close())
	}
	announce := make([]netip.AddrPort, 0, len(advertised))
	for _, each := range advertised {
		announce = append(announce, netip.AddrPortFrom(each, address.Port()))
	}
	return &sockets{
		udp:        mux.New(port, announce, classify),
		tcp:        newTCPMux(connections, log),
		port:       address,
		advertised: advertised,
	}, nil
}

// register exports what the UDP port counts.
func (s *sockets) register(registry prometheus.Registerer) error {
	counter := func(name, help string, value func() uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: "wardline", Subsystem: "sfu", Name: name, Help: help,
		}, func() float64 { return float64(value()) })
	}
	for _, c := range []prometheus.Collector{
		s.udp.Collector("sfu"),
		counter("udp_unrouted_total", "Received datagrams that belong to no connection.", s.udp.Unrouted),
		counter("udp_overflow_total", "Received datagrams dropped because their connection did not read.", s.udp.Overflow),
	} {
		if err := registry.Register(c); err != nil {
			return fmt.Errorf("register metric: %w", err)
		}
	}
	return nil
}

func (s *sockets) close() error { return errors.Join(s.udp.Close(), s.tcp.Close()) }

// maxShards bounds the sockets of the media port. Each batches on its own, so that more of them than it
// takes to keep up make smaller batches.
const maxShards = 8

// classify tells the media of outgoing packets apart. A down track's SSRC says which it is, see ssrcOf.
func classify(datagram []byte) udp.Class {
	const rtpHeader, firstRTCP, lastRTCP = 12, 192, 223 // RFC 5761, section 4
	if len(datagram) < rtpHeader || datagram[0]>>6 != 2 || datagram[1] >= firstRTCP && datagram[1] <= lastRTCP {
		return udp.Other
	}
	if binary.BigEndian.Uint32(datagram[8:])&audioSSRC != 0 {
		return udp.Audio
	}
	return udp.Video
}

// audioSSRC is the bit of an SSRC that the server chooses by the kind of media.
const audioSSRC = 1

// ssrcOf picks an SSRC at random for a stream of that kind.
func ssrcOf(kind webrtc.RTPCodecType) webrtc.SSRC {
	ssrc := (rand.Uint32() | 2) &^ audioSSRC //nolint:gosec // no secret; never 0, which stands for none
	if kind == webrtc.RTPCodecTypeAudio {
		ssrc |= audioSSRC
	}
	return webrtc.SSRC(ssrc)
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
