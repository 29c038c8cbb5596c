package secrets_test

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/secrets"
)

// never is an age that nothing here reaches.
const never = 24 * time.Hour

func TestScheduledRotationLeavesYoungSecretsAlone(t *testing.T) {
	r := theRegion(t)
	rotator := openKeeper(t, r.withIdentity(t, secrets.RotatorRole, nil))
	gateway := fastKeeper(t, r.withIdentity(t, "gateway", nil), 0)
	keys, err := gateway.PublicKeys(t.Context())
	require.NoError(t, err)
	turn, err := gateway.Shared(t.Context(), secrets.TURNSecret)
	require.NoError(t, err)
	for range 3 {
		found, err := rotator.RotateTokenKeyIfOlder(t.Context(), never)
		require.NoError(t, err)
		require.False(t, found.Done)
		require.Less(t, found.Age, time.Hour)
		found, err = rotator.RotateSharedIfOlder(t.Context(), secrets.TURNSecret, never)
		require.NoError(t, err)
		require.False(t, found.Done)
	}
	same, err := gateway.PublicKeys(t.Context())
	require.NoError(t, err)
	require.Equal(t, keys, same)
	still, err := gateway.Shared(t.Context(), secrets.TURNSecret)
	require.NoError(t, err)
	require.Equal(t, turn, still)
}

// grow waits until the token key and the TURN secret are older than an age; Vault tells its time in whole seconds.
func grow(t *testing.T, rotator *secrets.Vault, age time.Duration) {
	t.Helper()
	require.Eventually(t, func() bool {
		key, err := rotator.RotateTokenKeyIfOlder(t.Context(), never)
		require.NoError(t, err)
		turn, err := rotator.RotateSharedIfOlder(t.Context(), secrets.TURNSecret, never)
		require.NoError(t, err)
		return min(key.Age, turn.Age) > age+time.Second
	}, patience, tick)
}

func TestScheduledRotationRotatesWhatIsOld(t *testing.T) {
	r := theRegion(t)
	rotator := openKeeper(t, r.withIdentity(t, secrets.RotatorRole, nil))
	grow(t, rotator, 0)
	gateway := fastKeeper(t, r.withIdentity(t, "gateway", nil), 0)
	keys, err := gateway.PublicKeys(t.Context())
	require.NoError(t, err)
	turn, err := gateway.Shared(t.Context(), secrets.TURNSecret)
	require.NoError(t, err)

	found, err := rotator.RotateTokenKeyIfOlder(t.Context(), time.Nanosecond)
	require.NoError(t, err)
	require.True(t, found.Done)
	require.Positive(t, found.Age)
	found, err = rotator.RotateSharedIfOlder(t.Context(), secrets.TURNSecret, time.Nanosecond)
	require.NoError(t, err)
	require.True(t, found.Done)
	require.Eventually(t, func() bool {
		fresh, err := gateway.PublicKeys(t.Context())
		require.NoError(t, err)
		return len(fresh) == 2 && fresh[0].ID != keys[0].ID && fresh[1].ID == keys[0].ID
	}, patience, tick, "a new key, and the one before still verifies")
	require.Eventually(t, func() bool {
		fresh, err := gateway.Shared(t.Context(), secrets.TURNSecret)
		require.NoError(t, err)
		return bytes.Equal(fresh.Previous, turn.Current)
	}, patience, tick)

	_, err = r.Root.Logical().Delete("wardline/kv/metadata/shared/roster")
	require.NoError(t, err)
	found, err = rotator.RotateSharedIfOlder(t.Context(), secrets.RosterSecret, never)
	require.NoError(t, err)
	require.Equal(t, secrets.Rotation{Done: true}, found, "what is not there is made")

	// It rotates, and does nothing else.
	_, err = rotator.Shared(t.Context(), secrets.TURNSecret)
	require.ErrorIs(t, err, secrets.ErrDenied)
	require.ErrorIs(t, signOnce(t, rotator), secrets.ErrDenied)
	_, err = rotator.Certificates(t.Context(), secrets.RotatorRole)
	require.ErrorIs(t, err, secrets.ErrDenied)
}

// TestRotationsAtOnceRetireNothingThatIsInUse has several rotators find the same old version, as after a job that ran
// twice: transit rotates for each of them.
func TestRotationsAtOnceRetireNothingThatIsInUse(t *testing.T) {
	r := ownRegion(t)
	const rotators = 4
	var keepers []*secrets.Vault
	for range rotators {
		keepers = append(keepers, openKeeper(t, r.withIdentity(t, secrets.RotatorRole, nil)))
	}
	gateway := fastKeeper(t, r.withIdentity(t, "gateway", nil), 0)
	all := func(rotate func(ctx context.Context, keeper *secrets.Vault) (secrets.Rotation, error)) (done int) {
		t.Helper()
		var wg sync.WaitGroup
		var mu sync.Mutex
		for _, keeper := range keepers {
			wg.Go(func() {
				found, err := rotate(t.Context(), keeper)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				if found.Done {
					done++
				}
			})
		}
		wg.Wait()
		return done
	}
	const limit = 2 * time.Second // what is made now is younger, for a while
	doubled := false
	for range 5 {
		grow(t, keepers[0], limit)
		inUse, err := gateway.PublicKeys(t.Context())
		require.NoError(t, err)
		done := all(func(ctx context.Context, keeper *secrets.Vault) (secrets.Rotation, error) {
			return keeper.RotateTokenKeyIfOlder(ctx, limit)
		})
		require.Positive(t, done)
		require.Eventually(t, func() bool {
			keys, err := gateway.PublicKeys(t.Context())
			require.NoError(t, err)
			return keys[0].ID != inUse[0].ID
		}, patience, tick)
		keys, err := gateway.PublicKeys(t.Context())
		require.NoError(t, err)
		require.Contains(t, keys, inUse[0], "tokens of before verify, after %d rotations at once", done)
		if doubled = doubled || done > 1; doubled {
			break
		}
	}
	require.True(t, doubled, "no two rotations met")

	grow(t, keepers[0], limit)
	before, err := gateway.Shared(t.Context(), secrets.TURNSecret)
	require.NoError(t, err)
	require.Equal(t, 1, all(func(ctx context.Context, keeper *secrets.Vault) (secrets.Rotation, error) {
		return keeper.RotateSharedIfOlder(ctx, secrets.TURNSecret, limit)
	}), "of a shared secret there is one next version")
	require.Eventually(t, func() bool {
		now, err := gateway.Shared(t.Context(), secrets.TURNSecret)
		require.NoError(t, err)
		return bytes.Equal(now.Previous, before.Current)
	}, patience, tick)
}
