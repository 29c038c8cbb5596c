package udp

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// room is what Readers read into, in turns: of hundreds of sockets that are read on a few processors, a few are read at a time.
type room struct {
	receiver
	arrivals []Arrival
}

var rooms = sync.Pool{New: func() any {
	r := &room{receiver: receiver{zones: newZones()}}
	r.init(false)
	return r
}}

// many is a source that reads what waits in one system call.
type many struct {
	raw      syscall.RawConn
	counters *counters
}

func systemSource(conn *net.UDPConn) (source, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(probe(raw), enable(conn, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS)); err != nil {
		return newSingle(conn, &counters{}), nil //nolint:nilerr // without such calls there are the usual ones
	}
	return &many{raw, &counters{}}, nil
}

// read stays in one call of RawConn.Read, as receiver.receive does.
func (s *many) read(handle func([]Arrival) bool) error {
	return s.raw.Read(func(fd uintptr) (done bool) {
		r, ok := rooms.Get().(*room)
		if !ok {
			return true
		}
		defer rooms.Put(r)
		r.counters = s.counters
		for {
			n, errno := r.read(fd)
			if errno == unix.EINTR {
				continue
			}
			if errno != 0 {
				return false
			}
			if !handle(r.arrived(n)) {
				return true
			}
			if n < receiveBatch {
				return false
			}
		}
	})
}

// arrived makes arrivals of n messages that were read just now.
func (r *room) arrived(n int) []Arrival {
	now := time.Now()
	r.arrivals = r.arrivals[:0]
	r.split(n, func(d Datagram, control []byte) {
		r.arrivals = append(r.arrivals, Arrival{d, now.Add(-waited(control, now))})
	})
	return r.arrivals
}

// waited is how long a message has waited to be read, 0 if its control messages do not say.
func waited(control []byte, now time.Time) time.Duration {
	stamp := controlOf(control, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS)
	if len(stamp) < int(unsafe.Sizeof(unix.Timespec{})) {
		return 0
	}
	came := (*unix.Timespec)(unsafe.Pointer(unsafe.SliceData(stamp))) // #nosec G103 // the kernel's interface
	return max(0, now.Sub(time.Unix(came.Unix())))
}
