package speaker_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/edge/sfu/speaker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// play lets participants speak at constant levels for a while, a packet each 20 ms, and returns who is active.
type scene struct {
	detector *speaker.Detector
	now      time.Time
}

func (s *scene) play(levels map[string]uint8, lasting time.Duration) string {
	end := s.now.Add(lasting)
	active := s.detector.Active(s.now)
	for s.now.Before(end) {
		s.now = s.now.Add(20 * time.Millisecond)
		for participant, level := range levels {
			s.detector.Observe(participant, level, s.now)
		}
		active = s.detector.Active(s.now)
	}
	return active
}

func newScene() *scene {
	return &scene{detector: speaker.NewDetector(), now: time.Unix(1, 0)}
}

func TestSpeaker(t *testing.T) {
	const loud, normal, silent = 20, 30, 127
	t.Run("nobody at first", func(t *testing.T) {
		require.Empty(t, newScene().play(map[string]uint8{"a": silent}, time.Second))
	})
	t.Run("a cough is no speech", func(t *testing.T) {
		require.Empty(t, newScene().play(map[string]uint8{"a": loud}, 100*time.Millisecond))
	})
	t.Run("whoever speaks", func(t *testing.T) {
		require.Equal(t, "a", newScene().play(map[string]uint8{"a": normal, "b": silent}, time.Second))
	})
	t.Run("keeps the floor against somebody as loud", func(t *testing.T) {
		s := newScene()
		s.play(map[string]uint8{"a": normal}, time.Second)
		require.Equal(t, "a", s.play(map[string]uint8{"a": normal, "b": normal - 1}, time.Second))
	})
	t.Run("loses it to somebody much louder", func(t *testing.T) {
		s := newScene()
		s.play(map[string]uint8{"a": 50}, time.Second)
		require.Equal(t, "b", s.play(map[string]uint8{"a": 50, "b": loud}, time.Second))
	})
	t.Run("keeps it over a short pause", func(t *testing.T) {
		s := newScene()
		s.play(map[string]uint8{"a": normal}, time.Second)
		require.Equal(t, "a", s.play(map[string]uint8{"a": silent, "b": 45}, 500*time.Millisecond))
		require.Equal(t, "b", s.play(map[string]uint8{"a": silent, "b": 45}, 2*time.Second))
	})
	t.Run("long silence has no speaker", func(t *testing.T) {
		s := newScene()
		s.play(map[string]uint8{"a": normal}, time.Second)
		require.Equal(t, "a", s.play(map[string]uint8{"a": silent}, 3*time.Second))
		require.Empty(t, s.play(map[string]uint8{"a": silent}, 4*time.Second))
	})
	t.Run("leaving", func(t *testing.T) {
		s := newScene()
		s.play(map[string]uint8{"a": normal}, time.Second)
		s.detector.Forget("a")
		require.Empty(t, s.detector.Active(s.now))
	})
}

func TestSpeakerTieIsStable(t *testing.T) {
	for range 20 {
		require.Equal(t, "a", newScene().play(map[string]uint8{"b": 30, "a": 30, "c": 30}, time.Second))
	}
}

func TestLevels(t *testing.T) {
	s := newScene()
	s.play(map[string]uint8{"a": 27, "b": 127}, time.Second)
	level, spoke, known := s.detector.Level("a")
	require.True(t, known)
	require.InDelta(t, 100, level, 1)
	require.Equal(t, s.now, spoke)
	level, spoke, known = s.detector.Level("b")
	require.True(t, known)
	require.Zero(t, level)
	require.Zero(t, spoke)
	_, _, known = s.detector.Level("nobody")
	require.False(t, known)
}
