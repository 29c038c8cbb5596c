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
	r := &room{receiver: receiver{counters: &counters{}, zones: newZones()}}
	r.init(false)
	return r
}}

// many is a source that reads what waits in one system call.
type many struct{ raw syscall.RawConn }

func systemSource(conn *net.UDPConn) (source, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(probe(raw), enable(conn, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS)); err != nil {
		return newSingle(conn)
	}
	return &many{raw}, nil
}

// read stays in one call of RawConn.Read, as receiver.receive does.
func (s *many) read(handle func([]Arrival) bool) error {
	return s.raw.Read(func(fd uintptr) (done bool) {
		r, ok := rooms.Get().(*room)
		if !ok {
			return true
		}
		defer rooms.Put(r)
		for {
			n, errno := r.read(fd)
			if errno == unix.EINTR {
				continue
			}
			if errno != 0 {
				return false
			}
			if !handle(r.arrived(n, time.Now())) {
				return true
			}
			if n < receiveBatch {
				return false
			}
		}
	})
}

// arrived makes arrivals of n messages that were read now.
func (r *room) arrived(n int, now time.Time) []Arrival {
	r.arrivals = r.arrivals[:0]
	for i := range n {
		h := &r.headers[i]
		if h.Flags&unix.MSG_TRUNC != 0 {
			continue
		}
		control := r.controls[i][:min(int(h.Controllen), controlRoom)]
		r.arrivals = append(r.arrivals, Arrival{
			Datagram{Payload: r.buffers[i][:h.size:h.size], Peer: r.zones.get(&r.names[i])}, now.Add(-waited(control, now)),
		})
	}
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
