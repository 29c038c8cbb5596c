// Package bandwidth estimates how much the path to one receiver carries, from the receiver's transport-wide
// feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01). It is pure: callers bring the time and the
// packets, so that whole networks can be played through it in a test.
package bandwidth

import "time"

// Rate is in bit/s.
type Rate int64

// Bits is how much a number of bytes over a time is.
func Bits(bytes int, over time.Duration) Rate {
	if over <= 0 {
		return 0
	}
	return Rate(float64(bytes*8) / over.Seconds())
}

// Result is what became of one sent packet.
type Result struct {
	Number uint16        // transport-wide sequence number
	Sent   time.Duration // on the sender's clock
	// Arrived is on the receiver's clock, which has another origin; meaningless if Lost.
	Arrived time.Duration
	Size    int // bytes on the wire
	Lost    bool
}
