package bandwidth

import (
	"sync/atomic"
	"time"
)

// sentSize is how many packets are remembered: those of half a second at 20 Mbit/s, of several at usual rates.
const sentSize = 2048

// Sent numbers outgoing packets and remembers when they left and how large they were. It takes no lock, so
// that several senders can share it: an entry is one word of time (µs, 32 bits), size (16) and number (16).
// The zero value is ready.
type Sent struct {
	next    atomic.Uint32
	bytes   atomic.Int64
	entries [sentSize]atomic.Uint64
}

// Add takes a packet of that size in bytes that leaves at now, and returns its number.
func (s *Sent) Add(now time.Duration, size int) uint16 {
	number := uint16(s.next.Add(1))
	s.bytes.Add(int64(size))
	entry := uint64(uint32(now.Microseconds()))<<32 | uint64(uint16(min(size, 0xffff)))<<16 | uint64(number)
	s.entries[number%sentSize].Store(entry)
	return number
}

// Last is the number given last.
func (s *Sent) Last() uint16 { return uint16(s.next.Load()) }

// Bytes is how much was sent in all.
func (s *Sent) Bytes() int64 { return s.bytes.Load() }

// Awaits reports whether a packet is remembered and not known to have arrived.
func (s *Sent) Awaits(number uint16) bool {
	entry := s.entries[number%sentSize].Load()
	of, size := uint16(entry), uint16(entry>>16)
	return of == number && size != 0
}

// take looks a packet up; one that arrived is forgotten, so that repeated feedback counts once. False if it
// was never sent, is too long ago or is known to have arrived.
func (s *Sent) take(number uint16, now time.Duration, arrived bool) (Result, bool) {
	slot := &s.entries[number%sentSize]
	entry := slot.Load()
	size := int(uint16(entry >> 16))
	if of := uint16(entry); of != number || size == 0 || int16(number-s.Last()) > 0 {
		return Result{}, false
	}
	if arrived && !slot.CompareAndSwap(entry, 0) {
		return Result{}, false
	}
	// The times wrap after an hour; feedback comes within seconds.
	ago := time.Duration(uint32(now.Microseconds())-uint32(entry>>32)) * time.Microsecond
	return Result{Number: number, Sent: now - ago, Size: size}, true
}
