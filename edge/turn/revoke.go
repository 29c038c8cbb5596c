package turn

import (
	"time"

	"github.com/pion/stun/v3"

	"github.com/wardline/wardline/core/revocation"
)

const (
	// maxRevocations bounds what a relay remembers: some 30 MB.
	maxRevocations = 1 << 18
	// maxRevoked is the longest that a revocation is kept, whatever a gateway says: no credential lives longer.
	maxRevoked = 24 * time.Hour
)

// revokedCode is the answer to a request with a revoked credential: it gets no allocation (RFC 8656, section 7.2), and
// the one it had is no more.
func revokedCode(method stun.Method) stun.ErrorCode {
	if method == stun.MethodAllocate {
		return stun.CodeForbidden
	}
	return stun.CodeAllocMismatch
}

// revoked reports whether a user may have no allocations.
func (r *relays) revoked(user string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.denied.Covers(user, time.Now())
}

// countRevoked is how many revocations are in force.
func (r *relays) countRevoked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.denied.Len()
}

// admit makes an address one of its user's, unless the user was revoked while it was opened.
func (r *relays) admit(conn *relayConn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.denied.Covers(conn.user, time.Now()) {
		return false
	}
	if r.live[conn.user] == nil {
		r.live[conn.user] = make(map[*relayConn]struct{}, 1)
	}
	r.live[conn.user][conn] = struct{}{}
	return true
}

// forget undoes admit.
func (r *relays) forget(conn *relayConn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.live[conn.user], conn)
	if len(r.live[conn.user]) == 0 {
		delete(r.live, conn.user)
	}
}

// revoke ends the allocations of the given users and lets them have no others. It returns how many it ended.
//
// The engine cannot be told: it keeps what it knows of the allocation, without an address, until its lifetime ends. To
// end it from another goroutine than the engine's own would crash the engine if it were adding a permission at that moment.
func (r *relays) revoke(entries []revocation.Entry) (ended int) {
	for _, conn := range r.deny(entries) {
		_ = conn.Close()
		if conn.hangUp != nil {
			conn.hangUp()
		}
		r.metrics.allocationsRevoked.Inc()
		ended++
	}
	return ended
}

// deny remembers revocations and returns the addresses that they end.
func (r *relays) deny(entries []revocation.Entry) (over []*relayConn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for _, entry := range entries {
		if latest := now.Add(maxRevoked); entry.Until.After(latest) {
			entry.Until = latest
		}
		if _, dropped := r.denied.Add(entry, now); dropped {
			r.metrics.revocationsDropped.Inc()
		}
	}
	for user, conns := range r.live {
		if !r.denied.Covers(user, now) {
			continue
		}
		for conn := range conns {
			over = append(over, conn)
		}
	}
	return over
}
