package udp

import (
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// receiveBatch is how many messages are read at once. With coalescing each can be many datagrams.
const receiveBatch = 32

// receiver reads batches. One goroutine uses it.
type receiver struct {
	raw      syscall.RawConn
	counters *counters
	zones    zones
	patient  *patient // nil without

	headers   []header
	filled    int // of them, by the last call
	names     []sockaddr
	vectors   []unix.Iovec
	buffers   [][]byte
	controls  [][controlRoom]byte
	datagrams []Datagram
}

// controlRoom is enough for the control messages that are asked for.
const controlRoom = 64

// init makes the room. With coalescing a message can be as long as an IP packet.
func (r *receiver) init(coalescing bool) {
	size := usualSize
	if coalescing {
		size = 1 << 16
	}
	// A datagram longer than usual can come without coalescing as well.
	size = max(size, MaxPayload)
	r.headers = make([]header, receiveBatch)
	r.names = make([]sockaddr, receiveBatch)
	r.vectors = make([]unix.Iovec, receiveBatch)
	r.buffers = make([][]byte, receiveBatch)
	r.controls = make([][controlRoom]byte, receiveBatch)
	for i := range receiveBatch {
		r.buffers[i] = make([]byte, size)
		r.vectors[i].Base = &r.buffers[i][0]
		r.vectors[i].SetLen(size)
		h := &r.headers[i]
		h.Name = (*byte)(unsafe.Pointer(&r.names[i])) // #nosec G103 // the kernel's interface
		h.Iov = &r.vectors[i]
		h.SetIovlen(1)
		h.Control = &r.controls[i][0]
		r.empty(i)
	}
}

// receive implements socket.
func (r *receiver) receive(deliver func([]Datagram) time.Duration) error {
	for {
		err := r.receiveWoken(deliver)
		if r.patient == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		r.patient.expired()
	}
}

// receiveWoken stays in one call of Read: the poller tells of each arrival once, and a
// new call would forget what came since the last system call. So a batch that was not full needs no
// second system call to find out that there is no more.
func (r *receiver) receiveWoken(deliver func([]Datagram) time.Duration) error {
	return r.raw.Read(func(fd uintptr) bool {
		r.receiveAll(fd, deliver)
		if r.patient != nil {
			r.patient.receive(r, deliver)
		}
		return false
	})
}

// receiveAll receives until nothing is left, or there is an error, which is about a datagram that was sent. It reports whether
// anything came.
func (r *receiver) receiveAll(fd uintptr, deliver func([]Datagram) time.Duration) (came bool) {
	for holding := false; ; {
		n, errno := r.read(fd)
		switch {
		case errno == unix.EINTR:
			continue
		case errno != 0 && !holding:
			return came
		case errno != 0:
			n = 0
		}
		came = came || n > 0
		more := deliver(r.received(n))
		if holding = more > 0; holding {
			await(fd, more)
			continue
		}
		if n < receiveBatch {
			return came
		}
		runtime.Gosched() // who was given something should handle it before there is more
	}
}

// await returns when there is something to read, after that time at the latest. The scheduler is not told: for so short a time it
// would only wake a thread to stand in for this one.
func await(fd uintptr, atMost time.Duration) {
	poll := unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	limit := unix.NsecToTimespec(atMost.Nanoseconds())
	// Interrupted, or refused by a sandbox: what is held leaves early.
	_, _, _ = unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&poll)), 1, uintptr(unsafe.Pointer(&limit)), 0, 0, 0) // #nosec G103
}

func (r *receiver) read(fd uintptr) (int, unix.Errno) {
	for i := range r.headers[:r.filled] {
		r.empty(i)
	}
	r.counters.receiveCalls.Add(1)
	n, errno := call(unix.SYS_RECVMMSG, fd, r.headers)
	r.filled = max(n, 0)
	return n, errno
}

// empty makes a header ready to be filled.
func (r *receiver) empty(i int) {
	h := &r.headers[i]
	h.Namelen = unix.SizeofSockaddrInet6
	h.SetControllen(controlRoom)
	h.Flags = 0
}

// received makes the datagrams of n messages.
func (r *receiver) received(n int) []Datagram {
	r.datagrams = r.datagrams[:0]
	r.split(n, func(d Datagram, _ []byte) { r.datagrams = append(r.datagrams, d) })
	return r.datagrams
}

// split gives each datagram of n messages to take, with the control messages that came with it.
func (r *receiver) split(n int, take func(d Datagram, control []byte)) {
	var datagrams, bytes uint64
	for i := range n {
		h := &r.headers[i]
		if h.Flags&unix.MSG_TRUNC != 0 {
			r.counters.truncated.Add(1)
			continue
		}
		payload, peer := r.buffers[i][:h.size], r.zones.get(&r.names[i])
		bytes += uint64(len(payload))
		control := r.controls[i][:min(int(h.Controllen), controlRoom)]
		segment := segmentSize(control)
		if segment <= 0 {
			segment = max(len(payload), 1)
		}
		for {
			size := min(segment, len(payload))
			take(Datagram{Payload: payload[:size:size], Peer: peer}, control)
			datagrams++
			if payload = payload[size:]; len(payload) == 0 {
				break
			}
		}
	}
	r.counters.received.Add(datagrams)
	r.counters.receivedBytes.Add(bytes)
}

// segmentSize is the size of the datagrams that a message was coalesced from, 0 if it is one.
func segmentSize(control []byte) int {
	if value := controlOf(control, unix.SOL_UDP, unix.UDP_GRO); len(value) >= 4 {
		return int(binary.NativeEndian.Uint32(value))
	}
	return 0
}

// controlOf is the content of a message's control message of a kind, nil if there is none.
func controlOf(control []byte, level, kind int32) []byte {
	for len(control) >= unix.CmsgLen(0) {
		h := (*unix.Cmsghdr)(unsafe.Pointer(unsafe.SliceData(control))) // #nosec G103 // the kernel's interface
		size := int(h.Len)
		if size < unix.CmsgLen(0) || size > len(control) {
			return nil
		}
		if h.Level == level && h.Type == kind {
			return control[unix.CmsgLen(0):size]
		}
		if size = unix.CmsgSpace(size - unix.CmsgLen(0)); size >= len(control) {
			return nil
		}
		control = control[size:]
	}
	return nil
}
