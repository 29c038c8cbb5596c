package turn

import (
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/pion/stun/v3"

	"github.com/wardline/wardline/core/revocation"
)

// endingMargin is the last part of an allocation's life, in which requests are answered as if it were over.
// The engine ends an allocation on a goroutine of its own, and a permission added at that moment crashes it:
// the margin is millions of times longer than adding one takes.
const endingMargin = 5 * time.Second

// credential is a user name and its key (RFC 8489, section 9.2.2).
type credential struct {
	username string
	key      stun.MessageIntegrity
}

// user is the id in "<unix seconds>:<id>", so that renewed credentials stay the same user.
func (c credential) user() string {
	_, id, _ := strings.Cut(c.username, ":")
	return id
}

// personal says whether the credential is one session's. One that stands by for many cannot be revoked for one of them.
func (c credential) personal() bool { return revocation.Holder(c.user()) != c.user() }

// matches says whether the request carries this credential.
func (c credential) matches(m *stun.Message) bool {
	var username stun.Username
	return username.GetFrom(m) == nil && username.String() == c.username && c.key.Check(m) == nil
}

// session is an allocation as the guard knows it.
type session struct {
	// credential is what the allocation was made with. If it is personal it stays valid there even after its time, as with
	// coturn: no call may end because it outlasts its credentials.
	credential
	relayed *relayConn
	// ends is when the engine ends the allocation, or a little earlier; zero until its lifetime is known.
	ends time.Time
}

// usable says whether requests may still change the allocation.
func (s session) usable(now time.Time) bool { return now.Add(endingMargin).Before(s.ends) }

// sessions are the allocations of one engine by client.
type sessions struct {
	mu       sync.Mutex
	bySource map[netip.AddrPort]*session
}

// get returns a copy of the client's session, the zero value if there is none.
func (s *sessions) get(source netip.AddrPort) (_ session, found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.bySource[source]; found != nil {
		return *found, true
	}
	return session{}, false
}

// relayed is the relayed address of a client, nil if there is none.
func (s *sessions) relayed(source netip.AddrPort) *relayConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.bySource[source]; found != nil {
		return found.relayed
	}
	return nil
}

func (s *sessions) open(source netip.AddrPort, made credential, relayed *relayConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bySource[source] = &session{credential: made, relayed: relayed}
}

// allocated notes the end of a new allocation. A repeated answer to the same request changes nothing.
func (s *sessions) allocated(source netip.AddrPort, ends time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.bySource[source]; found != nil && found.ends.IsZero() {
		found.ends = ends
	}
}

// refreshed notes the new end of an allocation.
func (s *sessions) refreshed(source netip.AddrPort, ends time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.bySource[source]; found != nil {
		found.ends = ends
	}
}

// close forgets the session of a relayed address, unless its client has another one by now.
func (s *sessions) close(source netip.AddrPort, relayed *relayConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.bySource[source]; found != nil && found.relayed == relayed {
		delete(s.bySource, source)
	}
}
