package gateway_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/edge/gateway"
)

func TestEndedRecordsGoOnceNoTokenCouldBringThemBack(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	for id, ended := range map[string]time.Time{"long-ago": now.Add(-2 * time.Hour), "just-now": now, "open": {}} {
		_, err := w.store.CompareAndSet(t.Context(), encounter.Encounter{
			Key: encounter.Key{Tenant: "clinic", ID: id}, Created: now.Add(-3 * time.Hour), Ended: ended,
		})
		require.NoError(t, err)
	}
	_, err := w.memory.CompareAndSet(t.Context(), "wardline/encounters/clinic/damaged", []byte("damaged"), 0)
	require.NoError(t, err)
	w.gateway("gw-1", func(c *gateway.Config) { c.KeepEnded = time.Hour })

	require.Eventually(t, func() bool {
		_, err := w.store.Get(t.Context(), encounter.Key{Tenant: "clinic", ID: "long-ago"})
		return err != nil
	}, 10*time.Second, 10*time.Millisecond, "one damaged record must not keep the others from being swept")
	for _, id := range []string{"just-now", "open"} {
		_, err := w.store.Get(t.Context(), encounter.Key{Tenant: "clinic", ID: id})
		require.NoError(t, err, id)
	}
	_, err = w.memory.Get(t.Context(), "wardline/encounters/clinic/damaged")
	require.NoError(t, err, "what cannot be read is never deleted")
}
