package udp

import (
	"encoding/binary"
	"syscall"
	"unsafe"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// Bounds of one system call: long enough to share its cost, short enough that who waits for the
// processor waits little.
const (
	sendMessages = 64
	sendPackets  = 512
)

// Traffic classes by Class: the DSCP in the upper six bits (RFC 8837, table 1).
var trafficClass = [classes]int32{Video: 34 << 2, Audio: 46 << 2, Other: 0}

// sender sends batches. One goroutine uses it.
type sender struct {
	raw      syscall.RawConn
	counters *counters
	zones    zones
	v4       bool // an IPv4 socket
	log      zerolog.Logger

	limit int  // datagrams of this size and more are sent one by one; 0 for all
	told  bool // that the kernel refused
	wait  bool // for room in the system's buffer
	runs  runs

	headers  []header
	names    []sockaddr
	vectors  []unix.Iovec
	controls [][controlRoom]byte
	marks    [2][classes][]byte // control messages by family and class: IPv4 first

	prepared []int32 // by header: its run
	done     int     // headers that were sent
	errno    unix.Errno
	attempt  func(fd uintptr) bool // made once, so that it is not allocated for each call
}

func (s *sender) init(segmentation bool) {
	if segmentation {
		s.limit = noSegments
	}
	s.headers = make([]header, sendMessages)
	s.names = make([]sockaddr, sendMessages)
	s.vectors = make([]unix.Iovec, sendPackets)
	s.controls = make([][controlRoom]byte, sendMessages)
	for class := range classes {
		if value := trafficClass[class]; value != 0 {
			s.marks[0][class] = controlMessage(unix.IPPROTO_IP, unix.IP_TOS, value)
			s.marks[1][class] = controlMessage(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, value)
		}
	}
	s.attempt = s.try
}

// controlMessage makes a control message with a 32-bit value.
func controlMessage(level, name, value int32) []byte {
	b := make([]byte, unix.CmsgSpace(4))
	putControlHeader(b, level, name, 4)
	binary.NativeEndian.PutUint32(b[unix.CmsgLen(0):], uint32(value))
	return b
}

func putControlHeader(b []byte, level, name int32, size int) {
	h := (*unix.Cmsghdr)(unsafe.Pointer(unsafe.SliceData(b))) // #nosec G103 // the kernel's interface
	h.Level, h.Type = level, name
	h.SetLen(unix.CmsgLen(size))
}

// send implements socket.
func (s *sender) send(packets []*packet, wait bool) (rest []*packet) { //nolint:unparam // used by who has the interface
	s.wait = wait
	for len(packets) > 0 {
		part := packets[:min(len(packets), sendPackets)]
		packets = packets[len(part):]
		for len(part) > 0 {
			s.runs.plan(part, s.limit)
			if part = s.sendRuns(part); s.errno == unix.EAGAIN && len(part) > 0 {
				return append(part, packets...)
			}
		}
	}
	return nil
}

// sendRuns sends the planned runs. It returns the packets that are to be planned again, if the kernel
// refuses a run that it would send datagram by datagram, or has no room now.
func (s *sender) sendRuns(packets []*packet) (again []*packet) {
	for from := 0; from < len(s.runs.list); {
		from = s.prepare(packets, from)
		for s.done = 0; s.done < len(s.prepared); {
			before := s.done
			if err := s.raw.Write(s.attempt); err != nil { // the deadline of closing
				s.refuse(s.runs.list[s.prepared[s.done]:])
				return nil
			}
			s.count(before)
			if s.errno == 0 {
				continue
			}
			failed := int(s.prepared[s.done])
			if s.errno == unix.EAGAIN || s.refusesRun(&s.runs.list[failed]) {
				return s.rest(packets, failed)
			}
			s.refuse(s.runs.list[failed : failed+1])
			s.done++
		}
	}
	return nil
}

// try sends what is prepared. It reports false if it is to be called again when the socket is writable.
func (s *sender) try(fd uintptr) bool {
	for {
		s.counters.sendCalls.Add(1)
		n, errno := call(unix.SYS_SENDMMSG, fd, s.headers[s.done:len(s.prepared)])
		switch errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			if s.wait {
				return false
			}
		case 0:
			s.done += n
		default: // of the first message that was not sent
		}
		s.errno = errno
		return true
	}
}

// count counts the headers that were sent from the one before on.
func (s *sender) count(before int) {
	var datagrams, bytes int
	for _, index := range s.prepared[before:s.done] {
		datagrams += s.runs.list[index].count
		bytes += s.runs.list[index].bytes
	}
	s.counters.sent.Add(uint64(datagrams))
	s.counters.sentBytes.Add(uint64(bytes))
}

func (s *sender) refuse(runs []run) {
	for i := range runs {
		s.counters.refused.Add(uint64(runs[i].count))
	}
}

// refusesRun reports whether the error is about a run being one, and makes no more such runs: EIO comes
// from devices without checksum offload, the others from a path whose packets are smaller than the segments.
func (s *sender) refusesRun(failed *run) bool {
	if failed.count == 1 {
		return false
	}
	switch s.errno {
	case unix.EIO, unix.EOPNOTSUPP, unix.ENOPROTOOPT:
		s.limit = 0
	case unix.EMSGSIZE, unix.EINVAL:
		s.limit = min(s.limit, failed.segment)
	default:
		return false
	}
	if !s.told {
		s.told = true
		s.log.Warn().Err(s.errno).Int("segment_bytes", failed.segment).Bool("all", s.limit == 0).
			Msg("segmentation offload refused: datagrams of this size and more are sent one by one")
	}
	return true
}

// rest collects the packets of the runs from the one that failed on.
func (s *sender) rest(packets []*packet, failed int) []*packet {
	rest := make([]*packet, 0, len(packets))
	for i := range s.runs.list[failed:] {
		for index := s.runs.list[failed+i].first; index >= 0; index = s.runs.next[index] {
			rest = append(rest, packets[index])
		}
	}
	return rest
}

// prepare fills headers for the runs starting at from and returns the first run that found no room.
func (s *sender) prepare(packets []*packet, from int) int {
	s.prepared = s.prepared[:0]
	vectors := 0
	for ; from < len(s.runs.list) && len(s.prepared) < sendMessages; from++ {
		r, i := &s.runs.list[from], len(s.prepared)
		size, ok := s.zones.put(&s.names[i], r.to, s.v4)
		if !ok {
			s.refuse(s.runs.list[from : from+1])
			continue
		}
		h, first := &s.headers[i], vectors
		for index := r.first; index >= 0; index = s.runs.next[index] {
			v, data := &s.vectors[vectors], packets[index].data
			v.Base = unsafe.SliceData(data) // #nosec G103 // of an empty one as well
			v.SetLen(len(data))
			vectors++
		}
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&s.names[i])), size // #nosec G103 // the kernel's interface
		h.Iov = &s.vectors[first]
		h.SetIovlen(r.count)
		s.control(h, &s.controls[i], r)
		s.prepared = append(s.prepared, int32(from))
	}
	return from
}

// control adds the control messages of a run: its marks, and the size to cut it at.
func (s *sender) control(h *header, room *[controlRoom]byte, r *run) {
	family := 0
	if r.to.Addr().Is6() && !r.to.Addr().Is4In6() {
		family = 1
	}
	size := copy(room[:], s.marks[family][r.class])
	if r.count > 1 {
		b := room[size : size+unix.CmsgSpace(2)]
		putControlHeader(b, unix.SOL_UDP, unix.UDP_SEGMENT, 2)
		binary.NativeEndian.PutUint16(b[unix.CmsgLen(0):], uint16(r.segment))
		size += len(b)
	}
	h.Control = nil
	if size > 0 {
		h.Control = &room[0]
	}
	h.SetControllen(size)
}
