package udp

import "net/netip"

// maxBatch is how many datagrams a Batch collects before it sends them without being asked.
const maxBatch = 1024

// Batch collects datagrams that are to leave together. One goroutine uses it.
type Batch struct {
	shard   *shard
	packets []*packet // of which those up to used wait
	used    int
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
