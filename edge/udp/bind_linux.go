package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

var systemSocket opener = openBatched

// bind binds a socket for each shard to one port. Only the first one finds out whether somebody else has the port,
// so it is bound before it starts to share.
func bind(ctx context.Context, address string, cfg Config) ([]*net.UDPConn, error) {
	first, err := bindOne(ctx, address, nil)
	if err != nil {
		return nil, err
	}
	bound := []*net.UDPConn{first}
	if cfg.Shards == 1 && len(cfg.Patient) == 0 {
		return bound, nil
	}
	err = enable(first, unix.SOL_SOCKET, unix.SO_REUSEPORT)
	for len(bound) < cfg.Shards && err == nil {
		var next *net.UDPConn
		if next, err = bindOne(ctx, first.LocalAddr().String(), reusePort); err == nil {
			bound = append(bound, next)
		}
	}
	if err == nil {
		return bound, nil
	}
	for _, each := range bound {
		err = errors.Join(err, each.Close())
	}
	return nil, fmt.Errorf("share the port: %w", err)
}

func bindOne(ctx context.Context, address string, control func(network, address string, raw syscall.RawConn) error) (*net.UDPConn, error) {
	listen := net.ListenConfig{Control: control}
	conn, err := listen.ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	bound, ok := conn.(*net.UDPConn)
	if !ok {
		return nil, errors.Join(errors.New("not a UDP socket"), conn.Close())
	}
	return bound, nil
}

func reusePort(_, _ string, raw syscall.RawConn) error {
	var err error
	return errors.Join(raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}), err)
}

// enable sets a socket option to 1.
func enable(conn *net.UDPConn, level, name int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), level, name, 1) })
	return errors.Join(err, set)
}

// sizeBuffers sizes a socket's buffers and warns where the kernel grants less.
func sizeBuffers(conn *net.UDPConn, cfg Config) {
	for _, each := range []struct {
		name, limit   string
		plain, forced int
		wanted        int
	}{
		{"read", "net.core.rmem_max", unix.SO_RCVBUF, unix.SO_RCVBUFFORCE, cfg.ReadBuffer},
		{"write", "net.core.wmem_max", unix.SO_SNDBUF, unix.SO_SNDBUFFORCE, cfg.WriteBuffer},
	} {
		granted, err := sizeBuffer(conn, each.plain, each.forced, each.wanted)
		if err != nil || granted < each.wanted {
			cfg.Log.Warn().Err(err).Str("buffer", each.name).Int("wanted", each.wanted).Int("granted", granted).
				Str("sysctl", each.limit).Msg("kernel grants a smaller socket buffer: raise the sysctl, or packets will be lost under load")
		}
	}
}

// sizeBuffer returns the bytes granted. The kernel doubles what is asked for and tells the doubled size.
func sizeBuffer(conn *net.UDPConn, plain, forced, wanted int) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var granted int
	var failed error
	err = raw.Control(func(fd uintptr) {
		if failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, plain, wanted); failed != nil {
			return
		}
		if granted, failed = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, plain); failed != nil || granted/2 >= wanted {
			return
		}
		// Beyond the limit of the system, which takes a privilege; without it what is granted remains.
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, forced, wanted) == nil {
			granted, failed = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, plain)
		}
	})
	return granted / 2, errors.Join(err, failed)
}
