package udp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sockaddr is room for the kernel's form of an address, IPv4 or IPv6.
type sockaddr = unix.RawSockaddrInet6

// zones turns scopes of link-local addresses into zones and back. Each is looked up once.
type zones struct {
	names  map[uint32]string
	scopes map[string]uint32
}

func newZones() zones { return zones{names: make(map[uint32]string), scopes: make(map[string]uint32)} }

func (z zones) name(scope uint32) string {
	name, known := z.names[scope]
	if !known {
		name = strconv.FormatUint(uint64(scope), 10)
		if iface, err := net.InterfaceByIndex(int(scope)); err == nil {
			name = iface.Name
		}
		z.names[scope] = name
	}
	return name
}

func (z zones) scope(name string) uint32 {
	scope, known := z.scopes[name]
	if !known {
		if iface, err := net.InterfaceByName(name); err == nil {
			scope = uint32(iface.Index)
		} else if index, err := strconv.ParseUint(name, 10, 32); err == nil {
			scope = uint32(index)
		}
		z.scopes[name] = scope
	}
	return scope
}

// networkPort is a port as it is in memory in network byte order.
func networkPort(port uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], port)
	return binary.NativeEndian.Uint16(b[:])
}

// put writes an address for a socket of IPv4 or IPv6 and returns the size. It reports false for an IPv6
// address on an IPv4 socket.
func (z zones) put(to *sockaddr, address netip.AddrPort, v4 bool) (size uint32, ok bool) {
	ip := address.Addr()
	if v4 {
		if ip = ip.Unmap(); !ip.Is4() {
			return 0, false
		}
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(to)) // #nosec G103 // the larger of the two is the room for both
		*in = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: networkPort(address.Port()), Addr: ip.As4()}
		return unix.SizeofSockaddrInet4, true
	}
	*to = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: networkPort(address.Port()), Addr: ip.As16()}
	if zone := ip.Zone(); zone != "" {
		to.Scope_id = z.scope(zone)
	}
	return unix.SizeofSockaddrInet6, true
}

// get reads an address the kernel wrote.
func (z zones) get(from *sockaddr) netip.AddrPort {
	if from.Family == unix.AF_INET {
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(from)) // #nosec G103 // as in put
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), networkPort(in.Port))
	}
	ip := netip.AddrFrom16(from.Addr).Unmap()
	if from.Scope_id != 0 {
		ip = ip.WithZone(z.name(from.Scope_id))
	}
	return netip.AddrPortFrom(ip, networkPort(from.Port))
}
