package udp

import (
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batched is a socket that moves many datagrams a system call.
type batched struct {
	receiver
	sender
}

// openBatched makes a batched socket; without the calls for it, as under old kernels or strict sandboxes,
// a portable one.
func openBatched(conn *net.UDPConn, cfg Config, counters *counters) (socket, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	if err := probe(raw); err != nil {
		cfg.Log.Warn().Err(err).Msg("the system has no recvmmsg: one system call a datagram")
		return openPortable(conn, cfg, counters)
	}
	family, err := familyOf(raw)
	if err != nil {
		return nil, err
	}
	s := &batched{
		receiver: receiver{raw: raw, counters: counters, zones: newZones()},
		sender:   sender{raw: raw, counters: counters, zones: newZones(), v4: family == unix.AF_INET, log: cfg.Log},
	}
	// Where coalescing is not offered every datagram simply comes alone.
	s.receiver.init(enable(conn, unix.SOL_UDP, unix.UDP_GRO) == nil)
	s.sender.init(segmentation(raw))
	return s, nil
}

func (s *batched) source() source { return &many{raw: s.receiver.raw, counters: s.receiver.counters} }

// probe asks for no datagrams at all.
func probe(raw syscall.RawConn) error {
	var errno unix.Errno
	err := raw.Control(func(fd uintptr) {
		_, _, errno = unix.Syscall6(unix.SYS_RECVMMSG, fd, 0, 0, unix.MSG_DONTWAIT, 0, 0)
	})
	if err == nil && (errno == unix.ENOSYS || errno == unix.EPERM) {
		return errno
	}
	return err
}

func familyOf(raw syscall.RawConn) (int, error) {
	var family int
	var failed error
	if err := raw.Control(func(fd uintptr) {
		family, failed = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN)
	}); err != nil {
		return 0, err
	}
	return family, failed
}

// segmentation reports whether the kernel knows segmentation offload for UDP (Linux 4.18).
func segmentation(raw syscall.RawConn) bool {
	var known error
	err := raw.Control(func(fd uintptr) { _, known = unix.GetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT) })
	return err == nil && known == nil
}

// header is the kernel's struct mmsghdr.
type header struct {
	unix.Msghdr
	size uint32
}

// call makes one of the two system calls for many messages. Neither waits, so that the scheduler is not told: it would
// take the long ones for blocked, and wake threads to stand in for this one.
func call(trap, fd uintptr, headers []header) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(trap, fd,
		uintptr(unsafe.Pointer(unsafe.SliceData(headers))), // #nosec G103 // the kernel's interface
		uintptr(len(headers)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

var _ socket = (*batched)(nil)
