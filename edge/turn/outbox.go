package turn

import (
	"encoding/binary"
	"net/netip"
	"sync"

	"github.com/pion/stun/v3"

	"github.com/wardline/wardline/edge/udp"
)

// outbox takes what the peers of one relayed address send to its client, until a batch of them is relayed and all of it leaves at
// once. It may be used by two goroutines: a relayed address of before may still have a last datagram for the same client.
type outbox interface {
	// message takes one of the engine.
	message(packet []byte) error
	channelData(number uint16, data []byte) error
	flush()
	// slow says whether flush may wait for the client.
	slow() bool
}

// isData tells what peers sent from what the engine says itself: a Data indication or ChannelData (RFC 8656, sections 11.6
// and 12.4).
func isData(packet []byte) bool {
	return len(packet) >= channelDataHeader && (packet[0]>>6 == 1 || binary.BigEndian.Uint16(packet) == dataIndication)
}

var dataIndication = stun.NewType(stun.MethodData, stun.ClassIndication).Value()

// datagramOutbox is that of a client that uses the UDP port.
type datagramOutbox struct {
	port   *port
	client netip.AddrPort

	mu    sync.Mutex
	batch *udp.Batch // nil for nothing
}

func (o *datagramOutbox) message(packet []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.open().Add(packet, o.client, udp.Other)
}

// channelData needs no padding in a datagram.
func (o *datagramOutbox) channelData(number uint16, data []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	batch := o.open()
	return batch.Add(appendChannelData(batch.Room(), number, data), o.client, udp.Other)
}

// open is the batch, one that others used before if there was none. The caller holds the lock.
func (o *datagramOutbox) open() *udp.Batch {
	if o.batch == nil {
		o.batch, _ = o.port.batches.Get().(*udp.Batch) // there is nothing else in it
	}
	return o.batch
}

func (o *datagramOutbox) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.batch == nil {
		return
	}
	o.batch.Flush()
	o.port.batches.Put(o.batch)
	o.batch = nil
}

func (o *datagramOutbox) slow() bool { return false }

// streamOutbox is that of a client that has a connection.
type streamOutbox struct {
	conn *streamConn

	mu     sync.Mutex
	buffer *[]byte // nil for nothing
}

// buffers are for what goes through connections together.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

func (o *streamOutbox) message(packet []byte) error {
	return o.add(func(b []byte) []byte { return append(b, packet...) })
}

// channelData is padded to a multiple of four bytes (RFC 8656, section 12.5).
func (o *streamOutbox) channelData(number uint16, data []byte) error {
	return o.add(func(b []byte) []byte {
		b = appendChannelData(b, number, data)
		return append(b, make([]byte, -len(data)&3)...)
	})
}

func (o *streamOutbox) add(to func([]byte) []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.buffer == nil {
		o.buffer, _ = buffers.Get().(*[]byte) // there is nothing else in it
	}
	*o.buffer = to(*o.buffer)
	return nil
}

// flush cuts a client that does not read.
func (o *streamOutbox) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.buffer == nil {
		return
	}
	_, _ = o.conn.WriteTo(*o.buffer, nil)
	*o.buffer = (*o.buffer)[:0]
	buffers.Put(o.buffer)
	o.buffer = nil
}

func (o *streamOutbox) slow() bool { return true }
