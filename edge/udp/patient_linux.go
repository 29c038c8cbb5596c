package udp

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// patient is the socket for datagrams that can wait. Go's poller does not know it, so that what comes to it wakes nobody up: whichever
// reader is awake for another reason receives it as well.
type patient struct {
	socket   *os.File
	raw      syscall.RawConn
	sentinel *net.UDPConn // wakes its reader when nothing else has for a while

	due    atomic.Int64 // not to be read before, in Unix nanoseconds
	mu     sync.Mutex   // held by who reads
	lull   time.Duration
	lulled bool // it was over since the last time
}

// listenPatient opens the socket for the shards, and has the kernel give it what begins as cfg.Patient.
func listenPatient(ctx context.Context, shards []*shard, cfg Config) (io.Closer, error) {
	var readers []*batched
	for _, s := range shards {
		reader, ok := s.socket.(*batched)
		if !ok {
			return nil, nil // who has only portable calls has been told
		}
		readers = append(readers, reader)
	}
	first := shards[0].conn
	bound, err := bindOne(ctx, first.LocalAddr().String(), reusePort)
	if err != nil {
		return nil, err
	}
	cfg.Log = zerolog.Nop() // it says of the other sockets what this one is granted
	sizeBuffers(bound, cfg)
	_ = enable(bound, unix.SOL_UDP, unix.UDP_GRO) // as for the others: each comes alone without
	p := &patient{sentinel: first}
	if p.socket, err = unpolled(bound); err != nil {
		return nil, err
	}
	if p.raw, err = p.socket.SyscallConn(); err == nil {
		err = steer(first, len(shards), cfg.Patient)
	}
	if err != nil {
		return nil, errors.Join(err, p.socket.Close())
	}
	for _, each := range readers {
		each.patient = p
	}
	return p.socket, nil
}

// unpolled takes a socket off Go's poller.
func unpolled(conn *net.UDPConn) (*os.File, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	var fd int
	var failed error
	err = raw.Control(func(polled uintptr) {
		if fd, failed = unix.FcntlInt(polled, unix.F_DUPFD_CLOEXEC, 0); failed == nil {
			failed = unix.SetNonblock(fd, false) // the poller gets what does not block; reads say that they do not
		}
	})
	if err := errors.Join(err, failed, conn.Close()); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "patient"), nil
}

const (
	// receiveEvery is how often patient datagrams are received at most while readers are awake.
	receiveEvery = 20 * time.Millisecond
	// minLull and maxLull are for how long nothing wakes a reader up until it looks for patient datagrams nevertheless: the former
	// after something came, the latter at last, before it waits for others for any time. Patient datagrams answer what others caused
	// to be sent.
	minLull, maxLull = 100 * time.Millisecond, time.Second
)

// receive lets r, which is about to wait, receive what has waited for long enough.
func (p *patient) receive(r *receiver, deliver func([]Datagram) time.Duration) {
	now := time.Now()
	early := time.Duration(p.due.Load() - now.UnixNano())
	if early > 0 && early <= receiveEvery || !p.mu.TryLock() { // any earlier it is since the system's clock has been set back
		return
	}
	defer p.mu.Unlock()
	p.due.Store(now.Add(receiveEvery).UnixNano())
	came := false
	_ = p.raw.Control(func(fd uintptr) { came = r.receiveAll(fd, deliver) }) // closed: there is nothing any more
	if p.lull *= 2; came || !p.lulled {
		p.lull = minLull
	}
	p.lulled = false
	var until time.Time
	if p.lull <= maxLull {
		until = now.Add(p.lull)
	}
	_ = p.sentinel.SetReadDeadline(until) // of a closed socket it is of no use
}

// expired is for when nothing woke the sentinel's reader up until its deadline. That would do so forever.
func (p *patient) expired() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lulled = true
	p.due.Store(0)
	_ = p.sentinel.SetReadDeadline(time.Time{})
}
