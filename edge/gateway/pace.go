package gateway

import (
	"errors"
	"time"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/edge/gateway/api"
	"github.com/wardline/wardline/edge/gateway/problem"
	"github.com/wardline/wardline/edge/gateway/throttle"
)

// What good tokens may do: far more than people, walls of players and tenants' applications need, far less than the record
// store can do. Each join writes a record, and so may each request of a tenant.
const (
	joinsAtOnce, joinsPerSecond       = 200, 5
	requestsAtOnce, requestsPerSecond = 1000, 100
)

// Lines in the log about what one participant is refused: enough to see that it goes on.
const (
	refusalsAtOnce = 5
	refusalEvery   = 10 * time.Second
)

// errPace says that a participant comes in again and again.
var errPace = errors.New("too many joins of this participant")

// person is one participant of one encounter.
type person struct {
	encounter.Key
	participant string
}

func personOf(g access.Grant) person {
	return person{encounter.Key{Tenant: g.Tenant, ID: g.Encounter}, g.Participant}
}

// paces bound what is done with good tokens at this gateway.
type paces struct {
	joins    *throttle.Pace[person]
	refusals *throttle.Pace[person]
	requests *throttle.Pace[api.Caller]
}

func newPaces() paces {
	return paces{
		joins:    throttle.NewPace[person](throttle.Config{Burst: joinsAtOnce, Every: time.Second / joinsPerSecond}),
		refusals: throttle.NewPace[person](throttle.Config{Burst: refusalsAtOnce, Every: refusalEvery}),
		requests: throttle.NewPace[api.Caller](throttle.Config{Burst: requestsAtOnce, Every: time.Second / requestsPerSecond}),
	}
}

// remark writes a line about what somebody did who may do it again and again, unless they have had their lines. Those who
// have not joined have theirs together, since one client can be any number of them.
func (s *Server) remark(who person, line func()) {
	switch {
	case who == person{}:
		s.noJoins.Do(line)
	case s.paces.refusals.Take(who) == 0:
		line()
	}
}

// media is the problem of a WHIP or WHEP request that comes too soon, nil if it does not.
func (p paces) media(who person) error {
	if wait := p.joins.Take(who); wait > 0 {
		return problem.TooSoon("too many sessions and restarts of this participant", wait)
	}
	return nil
}

// request is how long a participant has to wait until they may ask about one of their WHIP and WHEP sessions again.
func (p paces) request(key encounter.Key, participant string) time.Duration {
	return p.requests.Take(api.Caller{Tenant: key.Tenant, Encounter: key.ID, Participant: participant})
}
