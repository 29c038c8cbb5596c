package dtlssrtp

// replayWindow is how many packets one may come late (RFC 3711, section 3.3.2): more than a sender sends again.
const replayWindow = 1024

// replay tells packets that came before by their index. The zero value has seen none.
type replay struct {
	next uint64                    // the index after the highest
	seen [replayWindow / 64]uint64 // a bit by index, modulo the window
}

// fresh reports whether a packet did not come before, and is not so old that nobody knows.
func (r *replay) fresh(index uint64) bool {
	return index >= r.next || r.next-index <= replayWindow && r.seen[index/64%uint64(len(r.seen))]&(1<<(index%64)) == 0
}

// saw takes note of a fresh packet that has proved genuine.
func (r *replay) saw(index uint64) {
	if index >= r.next {
		if index-r.next >= replayWindow {
			clear(r.seen[:])
		} else {
			for skipped := r.next; skipped < index; skipped++ {
				r.seen[skipped/64%uint64(len(r.seen))] &^= 1 << (skipped % 64)
			}
		}
		r.next = index + 1
	}
	r.seen[index/64%uint64(len(r.seen))] |= 1 << (index % 64)
}
