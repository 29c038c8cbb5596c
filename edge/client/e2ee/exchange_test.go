package e2ee

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/signaling"
)

// somebody takes part in a key exchange, and keeps what they send.
type somebody struct {
	*Exchange
	sent []signaling.SenderKey
	// announced is their public key.
	announced string
}

func newSomebody(t *testing.T, name string) *somebody {
	t.Helper()
	s := &somebody{}
	x, err := New("visit", name, func(m signaling.Message) {
		switch m := m.(type) {
		case signaling.PublicKey:
			s.announced = m.Key
		case signaling.SenderKey:
			require.NoError(t, m.Validate())
			m.By = name
			s.sent = append(s.sent, m)
		}
	})
	require.NoError(t, err)
	s.Exchange = x
	s.Announce()
	require.NoError(t, signaling.PublicKey{Key: s.announced}.Validate())
	return s
}

func (s *somebody) member() signaling.Member {
	return signaling.Member{Participant: s.own.participant, State: "admitted", Key: s.announced}
}

func (s *somebody) take() []signaling.SenderKey {
	sent := s.sent
	s.sent = nil
	return sent
}

func TestKeysAreSentUntilTheyAreConfirmed(t *testing.T) {
	now := time.Unix(0, 0)
	a, b := newSomebody(t, "a"), newSomebody(t, "b")
	everybody := []signaling.Member{
		a.member(), b.member(), {Participant: "c", State: "waiting", Key: b.announced}, {Participant: "d", State: "admitted"},
	}
	require.True(t, a.Roster(everybody, now))
	require.False(t, a.Roster(everybody, now), "the same people")
	b.Roster(everybody, now)
	lost := a.take()
	require.Len(t, lost, 1, "who waits, or has no key, gets none")
	a.Step(now.Add(againAfter / 2))
	require.Empty(t, a.take(), "not at once")
	a.Step(now.Add(againAfter))
	again := a.take()
	require.Len(t, again, 1)

	b.take()
	b.Receive(again[0])
	receipt := b.take()
	require.Len(t, receipt, 1)
	a.Receive(receipt[0])
	a.Step(now.Add(time.Hour))
	require.Empty(t, a.take(), "confirmed")
}

func TestWhoComesOrGoesMakesANewKey(t *testing.T) {
	now := time.Unix(0, 0)
	a, b := newSomebody(t, "a"), newSomebody(t, "b")
	require.True(t, a.Roster([]signaling.Member{b.member()}, now))
	first := a.key
	require.True(t, a.Roster(nil, now))
	second := a.key
	require.Greater(t, second.generation, first.generation)
	require.NotEqual(t, first.secret, second.secret)
	returned := newSomebody(t, "b")
	require.True(t, a.Roster([]signaling.Member{b.member()}, now))
	require.True(t, a.Roster([]signaling.Member{returned.member()}, now), "the same participant with another key is another browser")
}

func TestNonsenseFromServersIsIgnored(t *testing.T) {
	now := time.Unix(0, 0)
	a, b := newSomebody(t, "a"), newSomebody(t, "b")
	a.Roster([]signaling.Member{b.member(), {Participant: "evil", State: "admitted", Key: "AAAA"}}, now)
	require.Len(t, a.take(), 1, "a key that is none gets nothing")
	for by, data := range map[string]string{"nobody": "AA", "evil": "AA", "b": "AA", "a": "?"} {
		a.Receive(signaling.SenderKey{By: by, Data: data})
	}
	require.Empty(t, a.take())
}

func TestNoncesAreUsedOnce(t *testing.T) {
	sealer, err := newSealer("p", signaling.Microphone, 0, testKey())
	require.NoError(t, err)
	first, err := sealer.Seal([]byte{1})
	require.NoError(t, err)
	second, err := sealer.Seal([]byte{1})
	require.NoError(t, err)
	require.NotEqual(t, first[:1], second[:1])
	sealer.counter = math.MaxUint32
	_, err = sealer.Seal(nil)
	require.NoError(t, err)
	_, err = sealer.Seal(nil)
	require.ErrorIs(t, err, errUsedUp)
	_, err = newSealer("p", signaling.Microphone, 1<<24, testKey())
	require.ErrorContains(t, err, "leg 16777216")
}
