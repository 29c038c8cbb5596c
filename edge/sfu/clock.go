package sfu

import "time"

// clock makes the wall clock of a publisher that of this server, the same for all that it sends. What a subscriber gets of several
// publishers in one stream, one after the other, is on one clock then, as a receiver takes for granted (RFC 3550, section 6.4.1): it
// works out from past reports what is shown together. The zero value has heard of none.
type clock struct {
	heard bool
	ahead uint64 // of the publisher's, in units of NTP times and around their end
}

// here is the server's time for one that the publisher told of and that came now. Zero is none (RFC 3550, section 6.4.1).
func (c *clock) here(ntp uint64, now time.Time) uint64 {
	if ntp == 0 {
		return 0
	}
	if !c.heard {
		c.heard, c.ahead = true, ntpOf(now)-ntp
	}
	return ntp + c.ahead
}

// ntpOf is the NTP time, of 32 bits for seconds since 1900 and 32 for fractions.
func ntpOf(t time.Time) uint64 {
	const before1970 = 2_208_988_800
	return uint64(t.Unix()+before1970)<<32 | uint64(t.Nanosecond())<<32/uint64(time.Second)
}
