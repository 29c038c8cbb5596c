package peer

import (
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxPacket is the largest packet there is, in bytes.
	maxPacket = 1500
	// maxEarly is how many packets wait until it is known whose they are.
	maxEarly = 64
)

// sink is what pion writes the packets of one SSRC into. Until somebody takes them they wait to be read.
type sink struct {
	note   func(packet []byte, at time.Time)
	gone   func()
	opened atomic.Bool

	received *reception // of RTP; guarded by the receiver

	mu     sync.Mutex
	filled sync.Cond
	early  [][]byte
	take   func(packet []byte, at time.Time)
	closed bool
}

func newSink(note func([]byte, time.Time)) *sink {
	s := &sink{note: note, gone: func() {}}
	s.filled.L = &s.mu
	return s
}

// Write implements io.Writer.
func (s *sink) Write(packet []byte) (int, error) {
	if err := s.put(packet, time.Now()); err != nil {
		return 0, err
	}
	return len(packet), nil
}

// put takes a packet. It fails once the sink is closed.
func (s *sink) put(packet []byte, at time.Time) error {
	s.note(packet, at)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return io.ErrClosedPipe
	case s.take != nil:
		s.take(packet, at)
	case len(s.early) < maxEarly:
		s.early = append(s.early, append([]byte(nil), packet...))
		s.filled.Signal()
	}
	return nil
}

// Read implements io.Reader for what comes before it is known whose it is.
func (s *sink) Read(into []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.early) == 0 && !s.closed {
		s.filled.Wait()
	}
	if s.closed {
		return 0, io.EOF
	}
	n := copy(into, s.early[0])
	s.early = s.early[1:]
	return n, nil
}

// Close implements io.Closer.
func (s *sink) Close() error {
	s.mu.Lock()
	s.closed = true
	s.filled.Broadcast()
	s.mu.Unlock()
	s.gone()
	return nil
}

// open hands over what waits, and from then on everything as it comes.
func (s *sink) open(take func([]byte, time.Time)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, packet := range s.early {
		take(packet, time.Now())
	}
	s.early, s.take = nil, take
	s.opened.Store(true)
}
