package reception

import (
	"slices"
	"time"

	"github.com/pion/rtcp"
)

const (
	// maxMissing is how many packets are asked for at most; whoever lost more needs a key frame.
	maxMissing = 256
	// maxStale is how many are asked for after a silence: the end of a picture that was long the last, but not all of an outage.
	maxStale = 16
	// patience is how long a packet may be late before it is asked for: those of a burst overtake each other.
	patience = 10 * time.Millisecond
	// A packet is asked for at most maxTries times, and within giveUp: later it would come too late to be shown.
	maxTries = 8
	giveUp   = time.Second
	// trusted is how many times it is asked for as soon as answers have come so far: then the path may have got longer.
	trusted = 3
	// A round trip is first thought to take usualRoundTrip. It is waited for at least minRetry before a packet is asked for again.
	usualRoundTrip, minRetry = 80 * time.Millisecond, 20 * time.Millisecond
	// tailAfter is how long nothing comes behind a packet that ends no picture before the rest is asked for: more than senders take between
	// packets. Of how many packets that is nobody knows; tailPackets are asked for, at most tailTries times.
	tailAfter, tailPackets, tailTries = 100 * time.Millisecond, 4, 3
)

// Missing are the packets of a stream that did not come yet, to be asked for (RFC 4585, section 6.2.1). The zero value is ready.
type Missing struct {
	started   bool
	highest   uint16
	newest    time.Duration // when that came
	packets   []missing     // in order
	roundTrip time.Duration

	ends, ended bool // pictures of the stream have an end that is seen, and that came is it
	tails       int  // how many times what is behind it was asked for
	tailed      time.Duration
}

type missing struct {
	sequence uint16
	since    time.Duration
	first    time.Duration // when it was asked for
	asked    time.Duration // last
	tries    int
}

// Received takes note of a packet, also of one that was asked for, and reports whether some before it are lost for good: too many
// or too old to be asked for.
func (m *Missing) Received(sequence uint16, now time.Duration) (lost bool) {
	ahead := int(int16(sequence - m.highest))
	switch {
	case !m.started || ahead > maxMissing || ahead < -maxJump || ahead > maxStale && now-m.newest > giveUp:
		lost = m.started
		m.started, m.packets = true, m.packets[:0]
		m.advance(sequence, now)
	case ahead <= 0:
		m.found(sequence, now)
	default:
		for next := m.highest + 1; next != sequence; next++ {
			m.packets = append(m.packets, missing{sequence: next, since: now})
		}
		m.advance(sequence, now)
		if lost = len(m.packets) > maxMissing; lost {
			m.packets = m.packets[:0]
		}
	}
	return lost
}

func (m *Missing) advance(sequence uint16, now time.Duration) {
	m.highest, m.newest = sequence, now
	m.ended, m.tails = false, 0
}

// Ended says that a picture ends with a packet.
func (m *Missing) Ended(sequence uint16) {
	m.ends, m.ended = true, m.ended || sequence == m.highest
}

// Started says that a key frame begins with a packet: what is missing before it is of no use.
func (m *Missing) Started(sequence uint16) {
	m.packets = slices.DeleteFunc(m.packets, func(p missing) bool { return int16(p.sequence-sequence) < 0 })
}

// found learns how long an answer takes. To several requests it is one to any of them: that tells of a path that is longer than it was
// thought to be, which would be asked in vain otherwise, but not of a shorter one.
func (m *Missing) found(sequence uint16, now time.Duration) {
	i := slices.IndexFunc(m.packets, func(p missing) bool { return p.sequence == sequence })
	if i < 0 {
		return
	}
	if p := m.packets[i]; p.tries > 0 {
		sample := now - p.first
		if m.roundTrip == 0 && p.tries == 1 {
			m.roundTrip = sample
		}
		if p.tries == 1 || sample > m.expected() {
			m.roundTrip = m.expected() + (sample-m.expected())/8
		}
	}
	m.packets = slices.Delete(m.packets, i, i+1)
}

// Due lists the packets to ask for now, appended to pairs, or reports that some are lost for good, having been asked for in vain.
// Then a key frame has to come, and what else is missing is of no use either.
func (m *Missing) Due(now time.Duration, pairs []rtcp.NackPair) (_ []rtcp.NackPair, lost bool) {
	for i := range m.packets {
		p := &m.packets[i]
		retry := m.retry(p.tries)
		if now-p.since > giveUp || p.tries >= maxTries && now-p.asked >= retry {
			m.packets = m.packets[:0]
			return pairs[:0], true
		}
		if now-p.since < patience || p.tries > 0 && now-p.asked < retry {
			continue
		}
		if p.tries == 0 {
			p.first = now
		}
		p.asked = now
		p.tries++
		pairs = appendTo(pairs, p.sequence)
	}
	return m.tail(now, pairs), false
}

// tail asks for the end of a picture of which nothing comes any more. It would be missed only when the next one comes, and those of a
// screen that stands still are far apart.
func (m *Missing) tail(now time.Duration, pairs []rtcp.NackPair) []rtcp.NackPair {
	if !m.ends || m.ended || m.tails == tailTries || now-max(m.newest, m.tailed) < max(tailAfter, m.retry(0)) {
		return pairs
	}
	m.tailed = now
	m.tails++
	for ahead := range uint16(tailPackets) {
		pairs = appendTo(pairs, m.highest+1+ahead)
	}
	return pairs
}

// expected is how long an answer takes.
func (m *Missing) expected() time.Duration {
	if m.roundTrip == 0 {
		return usualRoundTrip
	}
	return m.roundTrip
}

// retry is how long an answer may take to who has asked so many times.
func (m *Missing) retry(tries int) time.Duration {
	expected := m.expected()
	if tries > trusted {
		expected = max(expected, usualRoundTrip)
	}
	return max(expected+expected/4, minRetry)
}

// appendTo adds a sequence number to the last pair if it fits there.
func appendTo(pairs []rtcp.NackPair, sequence uint16) []rtcp.NackPair {
	if last := len(pairs) - 1; last >= 0 {
		if after := sequence - pairs[last].PacketID; after >= 1 && after <= 16 {
			pairs[last].LostPackets |= 1 << (after - 1)
			return pairs
		}
	}
	return append(pairs, rtcp.NackPair{PacketID: sequence})
}
