package scalability

// kept is how many frames are remembered: more than any refers back to, or comes late.
const (
	kept     = 1024
	wordBits = 64
)

// frames remembers what became of the last ones.
type frames struct {
	newest  int64
	decided [kept / wordBits]uint64
	passed  [kept / wordBits]uint64
}

// extend unwraps the number of a frame, and reports whether it is newer than all before it. The first begins anew.
func (f *frames) extend(number uint16, first bool) (extended int64, newer bool) {
	if first {
		*f = frames{newest: int64(number)}
		return f.newest, true
	}
	extended = f.newest + int64(int16(number-uint16(f.newest)))
	if extended <= f.newest {
		return extended, false
	}
	if extended-f.newest >= kept {
		*f = frames{newest: extended}
		return extended, true
	}
	for n := f.newest + 1; n <= extended; n++ {
		at, mask := bit(n)
		f.decided[at] &^= mask
		f.passed[at] &^= mask
	}
	f.newest = extended
	return extended, true
}

// fate is what became of a frame, if that is known. One from too long ago does not pass.
func (f *frames) fate(number int64) (passed, known bool) {
	if number > f.newest || number <= f.newest-kept {
		return false, true
	}
	at, mask := bit(number)
	return f.passed[at]&mask != 0, f.decided[at]&mask != 0
}

func (f *frames) decide(number int64, passes bool) {
	at, mask := bit(number)
	f.decided[at] |= mask
	if passes {
		f.passed[at] |= mask
	}
}

func bit(number int64) (at, mask uint64) {
	n := uint64(number) % kept
	return n / wordBits, 1 << (n % wordBits)
}
