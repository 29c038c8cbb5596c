package encounter_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
)

// life plays random transitions on one encounter and remembers what must never be undone.
type life struct {
	e         encounter.Encounter
	now       time.Time
	removed   map[string]bool
	placement encounter.Placement
	ended     bool
	known     int
}

func (l *life) participant(t *rapid.T) string {
	return fmt.Sprintf("p%d", rapid.IntRange(0, 4).Draw(t, "participant"))
}

func (l *life) session(t *rapid.T) string {
	return fmt.Sprintf("s%d", rapid.IntRange(0, 5).Draw(t, "session"))
}

func (l *life) Join(t *rapid.T) {
	participant := l.participant(t)
	_, known := l.e.Participants[participant]
	kind := rapid.SampledFrom([]encounter.SessionKind{encounter.Browser, encounter.WHIP, encounter.WHEP}).Draw(t, "kind")
	role := rapid.SampledFrom(access.Roles()).Draw(t, "role")
	session := encounter.Session{Kind: kind, Gateway: "gw"}
	_, err := l.e.Join(participant, role, l.session(t), session, nil, nil, rapid.Bool().Draw(t, "auto-admit"))
	if l.ended || l.removed[participant] || (!known && l.e.Locked) {
		require.Error(t, err)
		return
	}
	require.NoError(t, err)
}

func (l *life) Lose(t *rapid.T) { l.e.Lose(l.participant(t), l.session(t), l.now) }

func (l *life) Resume(t *rapid.T) {
	err := l.e.Resume(l.participant(t), l.session(t), "gw-2")
	require.False(t, l.ended && err == nil)
}

func (l *life) Leave(t *rapid.T) { l.e.Leave(l.participant(t), l.session(t)) }

func (l *life) Admit(t *rapid.T) {
	err := l.e.Admit(l.participant(t))
	require.False(t, l.ended && err == nil)
}

func (l *life) Remove(t *rapid.T) {
	participant := l.participant(t)
	if err := l.e.Remove(participant); err == nil {
		l.removed[participant] = true
	}
}

func (l *life) Lock(t *rapid.T) { l.e.SetLocked(rapid.Bool().Draw(t, "locked")) }

func (l *life) End(t *rapid.T) {
	if rapid.IntRange(0, 9).Draw(t, "end") == 0 {
		l.e.End(l.now)
		l.ended = true
	}
}

func (l *life) Expire(t *rapid.T) {
	l.now = l.now.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, "seconds")) * time.Second)
	l.e.Expire(lostFor(l.now, grace))
	for _, p := range l.e.Participants {
		for _, s := range p.Sessions {
			require.False(t, !s.Lost.IsZero() && l.now.Sub(s.Lost) >= grace, "a session outlived its grace")
		}
	}
}

func (l *life) Place(t *rapid.T) {
	err := l.e.Place(encounter.Placement{
		Region: rapid.SampledFrom([]string{"eu", "us", "forbidden"}).Draw(t, "region"),
		SFU:    rapid.SampledFrom([]string{"", "sfu-1", "sfu-2"}).Draw(t, "sfu"),
		Epoch:  rapid.Uint64Range(0, 5).Draw(t, "epoch"),
		Term:   rapid.Uint64Range(0, 2).Draw(t, "term"),
	})
	if err != nil {
		require.Equal(t, l.placement, l.e.Placement)
		return
	}
	require.False(t, l.ended)
	require.NotEqual(t, "forbidden", l.e.Placement.Region)
	require.NotEqual(t, l.placement, l.e.Placement)
}

// Check holds after every transition.
func (l *life) Check(t *rapid.T) {
	require.GreaterOrEqual(t, l.e.Placement.Epoch, l.placement.Epoch, "the epoch shrank")
	require.GreaterOrEqual(t, l.e.Placement.Term, l.placement.Term, "the term shrank")
	l.placement = l.e.Placement
	require.Equal(t, l.ended, l.e.HasEnded())
	require.GreaterOrEqual(t, len(l.e.Participants), l.known, "a record forgot somebody")
	l.known = len(l.e.Participants)
	for id, p := range l.e.Participants {
		exclusive := 0
		for _, s := range p.Sessions {
			if s.Kind != encounter.WHEP {
				exclusive++
			}
		}
		require.LessOrEqual(t, exclusive, 1, "%s has two exclusive sessions", id)
		require.Equal(t, l.removed[id], p.State == encounter.Removed, "%s removed and back", id)
		inside := p.State == encounter.Waiting || p.State == encounter.Admitted
		require.Equal(t, inside, len(p.Sessions) > 0, "%s is %s with %d sessions", id, p.State, len(p.Sessions))
		letIn := p.Cleared || access.Can(p.Role, access.Enter)
		require.False(t, p.State == encounter.Admitted && !letIn, "%s admitted, by nobody and no role", id)
	}
	l.checkLists(t)
}

func (l *life) checkLists(t *rapid.T) {
	admitted, waiting := l.e.AdmittedIDs(), l.e.WaitingIDs()
	for _, id := range admitted {
		require.Equal(t, encounter.Admitted, l.e.Participants[id].State)
		require.NotContains(t, waiting, id)
	}
	for _, id := range waiting {
		require.Equal(t, encounter.Waiting, l.e.Participants[id].State)
	}
}

func TestRandomLivesKeepTheInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		t.Repeat(rapid.StateMachineActions(&life{
			e: encounter.Encounter{Key: visit, Regions: []string{"eu", "us"}}, now: noon, removed: make(map[string]bool),
		}))
	})
}
