package placement_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/placement"
)

// TestDeadSFUsDoNotAddUp holds a failover to what it may take when the SFUs asked first do not answer at all.
func TestDeadSFUsDoNotAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, sfu("a", "eu", "0"), sfu("b", "eu", "0.2"), sfu("c", "eu", "0.4"), sfu("d", "eu", "0.6"))
		h.reservations.answer = func(ctx context.Context, c placement.Candidate) error {
			if c.SFU == "d" {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}
		started := time.Now()
		p, err := h.Place(t.Context(), visit)
		require.NoError(t, err)
		require.Equal(t, "d", p.SFU)
		require.Equal(t, 3*placement.Hedge, time.Since(started), "three that are waited for do not cost 3 s")
		require.Equal(t, []string{"a@1", "b@1", "c@1", "d@1"}, h.reservations.asked)
	})
}

func TestHedgedReservation(t *testing.T) {
	refuse := errors.New("full")
	for name, test := range map[string]struct {
		after map[string]time.Duration // that each takes to answer
		err   map[string]error
		want  string
		took  time.Duration
		asked []string
	}{
		"quick answer asks nobody else": {
			after: map[string]time.Duration{"a": 200 * time.Millisecond}, want: "a", took: 200 * time.Millisecond, asked: []string{"a@1"},
		},
		"slow one still wins if the next is slower": {
			after: map[string]time.Duration{"a": 400 * time.Millisecond, "b": time.Hour}, want: "a", took: 400 * time.Millisecond,
			asked: []string{"a@1", "b@1"},
		},
		"refusal asks the next at once": {
			err: map[string]error{"a": refuse}, want: "b", asked: []string{"a@1", "b@1"},
		},
		"refusal of the second while the first is waited for": {
			after: map[string]time.Duration{"a": time.Hour}, err: map[string]error{"b": refuse}, want: "c",
			took: 300 * time.Millisecond, asked: []string{"a@1", "b@1", "c@1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHouse(t, sfu("a", "eu", "0"), sfu("b", "eu", "0.2"), sfu("c", "eu", "0.4"))
				h.reservations.answer = func(ctx context.Context, c placement.Candidate) error {
					select {
					case <-time.After(test.after[c.SFU]):
						return test.err[c.SFU]
					case <-ctx.Done():
						return ctx.Err()
					}
				}
				started := time.Now()
				p, err := h.Place(t.Context(), visit)
				require.NoError(t, err)
				require.Equal(t, encounter.Placement{Region: "eu", SFU: test.want, Epoch: 1}, p)
				require.Equal(t, test.took, time.Since(started))
				require.Equal(t, test.asked, h.reservations.asked)
			})
		})
	}
}
