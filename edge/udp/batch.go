package udp

import (
	"net/netip"
	"time"
)

const (
	// maxBatch is how many datagrams a Batch collects before it sends them without being asked.
	maxBatch = 1024
	// ample is how many make a batch large, by the cost of a system call next to that of what it sends.
	ample = 64
	// MaxHold is how long a datagram in the batch of a reader waits for others. Linux may add its timer slack of 50 microseconds.
	MaxHold = 200 * time.Microsecond
)

// Batch collects datagrams that are to leave together. One goroutine uses it.
type Batch struct {
	shard   *shard
	packets []*packet // of which those up to used wait
	used    int

	hold bool
	held time.Time // when holding began, zero if it did not
}

// NewBatch returns an empty batch, for what is sent without a batch having been received.
func (c *Conn) NewBatch() *Batch { return &Batch{shard: c.shards[0]} }

// Room is an empty buffer to append the next datagram to: added from there it is not copied. It is good until Add.
func (b *Batch) Room() []byte {
	if b.used == len(b.packets) {
		b.packets = append(b.packets, &packet{data: make([]byte, 0, usualSize)})
	}
	return b.packets[b.used].data[:0]
}

// Add takes a datagram. Errors are those of Conn.Send but net.ErrClosed.
func (b *Batch) Add(payload []byte, to netip.AddrPort, class Class) error {
	if err := check(payload, to); err != nil {
		return err
	}
	room := b.Room()
	if len(payload) == 0 || cap(room) == 0 || &room[:1][0] != &payload[0] {
		payload = append(room, payload...)
	}
	p := b.packets[b.used]
	p.data, p.to, p.class = payload, to, min(class, Other)
	b.used++
	if b.used == maxBatch {
		b.Flush()
	}
	return nil
}

// Hold says that more is about to be received whose answers should leave together with what was added, as that saves system
// calls. The batch of a reader then waits for it, though never longer than MaxHold; others pay no heed.
func (b *Batch) Hold() { b.hold = true }

// Ample reports whether so much was added that more would save little: who adds it can flush, so that the first need not wait for
// the last.
func (b *Batch) Ample() bool { return b.used >= ample }

// settle sends what was added, unless it is to be held: then it returns for how long.
func (b *Batch) settle() time.Duration {
	if b.hold && b.used > 0 {
		b.hold = false
		now := time.Now()
		if b.held.IsZero() {
			b.held = now
		}
		if rest := MaxHold - now.Sub(b.held); rest > 0 {
			return rest
		}
	}
	b.Flush()
	b.hold, b.held = false, time.Time{}
	return 0
}

// Flush sends what was added, past the queue if nothing is in it. What the system has no room for waits in the queue, or
// is dropped like anything that the queue has no room for.
func (b *Batch) Flush() {
	rest := b.packets[:b.used]
	if len(rest) == 0 {
		return
	}
	s := b.shard
	claimed := s.queue.claim()
	if claimed {
		s.counters.batches.observe(len(rest))
		rest = s.socket.send(rest, false)
	}
	for _, p := range rest {
		_ = s.put(p.data, p.to, p.class) // of a closed Conn it is lost, as on the network
	}
	if claimed {
		s.queue.release()
	}
	b.used = 0
}
