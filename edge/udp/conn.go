// Package udp is batched UDP: a Conn reads datagrams in batches and sends what was queued in as few
// system calls as the system allows. On Linux those are recvmmsg with generic receive offload and
// sendmmsg with generic segmentation offload; other systems get one call a datagram behind the same
// interface.
//
// Batching is natural: whatever was queued while the last system call ran goes out with the next one, and what is sent in
// answer to a batch that was received leaves at once as a batch, without another goroutine having to wake up. So an idle Conn adds
// no latency and a busy one spends fewer calls. Only who knows that the rest of a burst is about to come holds a batch, and not for long.
package udp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// MaxPayload is the largest payload of a datagram in bytes: what IPv4 has room for.
const MaxPayload = 65507

// Limits and defaults of a Config.
const (
	maxShards    = 64
	maxPrefixes  = 16
	defaultQueue = 4096
	minQueue     = 16
	maxQueue     = 1 << 16
	// defaultBuffer holds some 50 ms of 500 Mbit/s: a pause of the scheduler loses nothing.
	defaultBuffer = 4 << 20
)

// Class says what a datagram carries: how routers are asked to treat it, and what is dropped first.
type Class uint8

// Classes, from the first to be dropped to the last. Video has the DSCP AF41, audio EF (RFC 8837), the
// rest none.
const (
	Video Class = iota
	Audio
	Other
	classes
)

func (c Class) String() string {
	if c >= classes {
		return "invalid"
	}
	return [classes]string{"video", "audio", "other"}[c]
}

// Datagram is one received datagram. Payload is valid only until the function that it was given to returns.
type Datagram struct {
	Payload []byte
	Peer    netip.AddrPort // an IPv4 address is never in its IPv6 form
}

// Config is how a Conn is set up. The zero value is usable.
type Config struct {
	// Shards is how many sockets share the port (SO_REUSEPORT), each with a reader and a queue of its own,
	// 1 to 64. All datagrams of one peer pass the same ones. Zero means 1; other systems than Linux have 1.
	Shards int
	// Queue is how many datagrams wait to be sent by one shard at most, 16 to 65536. Zero means 4096.
	// Video is dropped above three quarters of it.
	Queue int
	// ReadBuffer and WriteBuffer are the sizes of a socket's buffers in bytes. Zero means 4 MiB.
	ReadBuffer, WriteBuffer int
	// Patient is how datagrams begin that need not wake up who receives, since others will come soon that do. They are received with
	// those, 20 ms later at most, 0.1 s if nothing else comes, whichever shard their peer has. After a second of silence they wait for
	// it to end. By default there are none. It is for Receive; other systems than Linux, and sandboxes that do not allow it, pay no heed.
	Patient []Prefix
	// Log gets warnings: a kernel that grants smaller buffers, or refuses segmentation offload.
	Log zerolog.Logger
}

// Prefix is what the first two bytes of a datagram, the first one as the higher, are where Mask has a one.
type Prefix struct{ Mask, Value uint16 }

func (c Config) withDefaults() Config {
	for _, value := range []struct {
		of       *int
		fallback int
	}{{&c.Shards, 1}, {&c.Queue, defaultQueue}, {&c.ReadBuffer, defaultBuffer}, {&c.WriteBuffer, defaultBuffer}} {
		if *value.of == 0 {
			*value.of = value.fallback
		}
	}
	return c
}

func (c Config) validate() error {
	switch {
	case c.Shards < 1 || c.Shards > maxShards:
		return fmt.Errorf("shards %d: must be 1 to %d", c.Shards, maxShards)
	case c.Queue < minQueue || c.Queue > maxQueue:
		return fmt.Errorf("queue %d: must be %d to %d datagrams", c.Queue, minQueue, maxQueue)
	case c.ReadBuffer < 1 || c.WriteBuffer < 1:
		return fmt.Errorf("buffers of %d and %d bytes: must be at least 1", c.ReadBuffer, c.WriteBuffer)
	case len(c.Patient) > maxPrefixes:
		return fmt.Errorf("%d patient prefixes: must be at most %d", len(c.Patient), maxPrefixes)
	}
	for _, each := range c.Patient {
		if each.Value&^each.Mask != 0 {
			return fmt.Errorf("patient value %#x: must be within the mask %#x", each.Value, each.Mask)
		}
	}
	return nil
}

// socket is the system's part of a shard. Its methods count what they do in the shard's counters.
type socket interface {
	// receive gives what comes in to deliver until the socket is closed. Where deliver asks for more, it is called again with what
	// came within that time, even if that is nothing.
	receive(deliver func([]Datagram) (more time.Duration)) error
	// send sends packets, in their order as far as each peer sees it. While the system's buffer is full it waits, or
	// else returns those that it had no room for.
	send(packets []*packet, wait bool) (rest []*packet)
	// source reads the socket in place of receive.
	source() source
}

// closeWithin bounds how long closing waits for the system to take what is queued.
const closeWithin = 100 * time.Millisecond

// Conn is one UDP port.
type Conn struct {
	local   netip.AddrPort
	shards  []*shard
	patient io.Closer // nil without

	senders sync.WaitGroup
	closing sync.Once
	closed  error
}

// shard is one socket with its queue.
type shard struct {
	conn     *net.UDPConn
	socket   socket
	queue    *queue
	batch    *Batch // of the reader
	counters counters
}

// Listen binds a UDP port; address is HOST:PORT, and port 0 picks one.
func Listen(ctx context.Context, address string, cfg Config) (*Conn, error) {
	return listen(ctx, address, cfg, systemSocket)
}

// opener makes the socket of a shard from a bound one.
type opener func(conn *net.UDPConn, cfg Config, counters *counters) (socket, error)

func listen(ctx context.Context, address string, cfg Config, open opener) (*Conn, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("udp: %w", err)
	}
	bound, err := bind(ctx, address, cfg)
	if err != nil {
		return nil, fmt.Errorf("udp %q: %w", address, err)
	}
	c := &Conn{}
	for i, conn := range bound {
		sizeBuffers(conn, cfg)
		s := &shard{conn: conn, queue: newQueue(cfg.Queue)}
		s.batch = &Batch{shard: s}
		if s.socket, err = open(conn, cfg, &s.counters); err != nil {
			for _, rest := range bound[i:] {
				err = errors.Join(err, rest.Close())
			}
			return nil, errors.Join(fmt.Errorf("udp %q: %w", address, err), c.Close())
		}
		c.shards = append(c.shards, s)
		c.senders.Go(s.sendQueued)
	}
	local, _ := bound[0].LocalAddr().(*net.UDPAddr)
	c.local = unmapped(local.AddrPort())
	if len(cfg.Patient) > 0 {
		if c.patient, err = listenPatient(ctx, c.shards, cfg); err != nil {
			cfg.Log.Warn().Err(err).Msg("the system does not keep apart what can wait: it wakes the server up")
		}
	}
	return c, nil
}

// unmapped is the same address, IPv4 never in its IPv6 form.
func unmapped(address netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(address.Addr().Unmap(), address.Port())
}

// LocalAddr is the address the port is bound to.
func (c *Conn) LocalAddr() netip.AddrPort { return c.local }

// Receive gives received datagrams to handle until the Conn is closed, and returns nil then. Each shard
// has a goroutine of its own that calls handle, which keeps the order of a peer's datagrams, but for patient ones. What handle adds to
// out leaves when it returns, unless it asks out to hold it. To be called once.
func (c *Conn) Receive(handle func(received []Datagram, out *Batch)) error {
	errs := make([]error, len(c.shards))
	var group sync.WaitGroup
	for i, s := range c.shards {
		group.Go(func() {
			errs[i] = s.socket.receive(func(received []Datagram) time.Duration {
				handle(received, s.batch)
				return s.batch.settle()
			})
			if errors.Is(errs[i], net.ErrClosed) {
				errs[i] = nil
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// Shard is one of the sockets that share the port of a Conn, to who asks for what comes.
type Shard struct {
	Reader
	shard *shard
}

// Shards are what the Conn consists of. Whoever reads them does that in place of Receive.
func (c *Conn) Shards() []Shard {
	all := make([]Shard, len(c.shards))
	for i, s := range c.shards {
		all[i] = Shard{Reader{s.socket.source()}, s}
	}
	return all
}

// NewBatch returns an empty batch that leaves by this socket.
func (s *Shard) NewBatch() *Batch { return &Batch{shard: s.shard} }

// ErrPayload says that a payload is larger than MaxPayload.
var ErrPayload = errors.New("payload larger than a datagram")

// Send queues a copy of payload. A datagram that finds no room is dropped without an error, as the
// network does, and counted. Errors are ErrPayload, net.ErrClosed, and an address that is none.
func (c *Conn) Send(payload []byte, to netip.AddrPort, class Class) error {
	if err := check(payload, to); err != nil {
		return err
	}
	return c.shards[hash(to)%uint64(len(c.shards))].put(payload, to, min(class, Other))
}

func check(payload []byte, to netip.AddrPort) error {
	switch {
	case len(payload) > MaxPayload:
		return ErrPayload
	case !to.IsValid() || to.Port() == 0:
		return net.InvalidAddrError(to.String())
	}
	return nil
}

// put queues a copy of payload.
func (s *shard) put(payload []byte, to netip.AddrPort, class Class) error {
	switch s.queue.put(payload, to, class) {
	case queued:
	case full:
		s.counters.dropped[class].Add(1)
	case ended:
		return net.ErrClosed
	}
	return nil
}

// hash spreads peers. It need not resist anybody: a collision costs one comparison.
func hash(peer netip.AddrPort) uint64 {
	const odd = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio
	b := peer.Addr().As16()
	h := (binary.NativeEndian.Uint64(b[:8])*odd ^ binary.NativeEndian.Uint64(b[8:]) ^ uint64(peer.Port())<<16) * odd
	return h ^ h>>32
}

// sendQueued sends what is queued until the queue ends.
func (s *shard) sendQueued() {
	var batch []*packet
	for {
		var ok bool
		if batch, ok = s.queue.take(batch); !ok {
			return
		}
		s.counters.batches.observe(len(batch))
		s.socket.send(batch, true)
	}
}

// Close sends what is queued, unless the system takes it too slowly, and closes the sockets.
func (c *Conn) Close() error {
	c.closing.Do(func() {
		for _, s := range c.shards {
			s.queue.end()
			c.closed = errors.Join(c.closed, s.conn.SetWriteDeadline(time.Now().Add(closeWithin)))
		}
		c.senders.Wait()
		for _, s := range c.shards {
			c.closed = errors.Join(c.closed, s.conn.Close())
		}
		if c.patient != nil {
			c.closed = errors.Join(c.closed, c.patient.Close())
		}
	})
	return c.closed
}
