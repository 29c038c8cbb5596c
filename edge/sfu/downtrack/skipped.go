package downtrack

import "math/bits"

// skipped remembers which of the last maxLate numbers were left out on purpose, so that those behind close up.
type skipped [maxLate / wordBits]uint64

const wordBits = 64

func (s *skipped) bit(number int64) (word *uint64, mask uint64) {
	at := uint64(number) % maxLate
	return &s[at/wordBits], 1 << (at % wordBits)
}

func (s *skipped) has(number int64) bool {
	word, mask := s.bit(number)
	return *word&mask != 0
}

func (s *skipped) add(number int64) {
	word, mask := s.bit(number)
	*word |= mask
}

// advance forgets what is too long ago when the newest number grows.
func (s *skipped) advance(from, to int64) {
	if to-from >= maxLate {
		*s = skipped{}
		return
	}
	for number := from + 1; number <= to; number++ {
		word, mask := s.bit(number)
		*word &^= mask
	}
}

// between counts those above one number, up to another one.
func (s *skipped) between(above, to int64) int {
	count := 0
	for number := above + 1; number <= to; {
		word, mask := s.bit(number)
		rest := *word &^ (mask - 1)
		last := min(to, number|(wordBits-1))
		if keep := uint(last-number) + uint(bits.TrailingZeros64(mask)) + 1; keep < wordBits {
			rest &= 1<<keep - 1
		}
		count += bits.OnesCount64(rest)
		number = last + 1
	}
	return count
}
