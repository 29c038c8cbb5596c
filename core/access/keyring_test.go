package access

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/secrets"
)

// joins verifies a token signed by a Wardline key.
func (w *world) joins(t *testing.T, key KeySigner) error {
	t.Helper()
	grant := clinicGrant()
	grant.Expires = noon.Add(20 * time.Hour)
	token, err := Mint(t.Context(), key, grant, noon, noon)
	require.NoError(t, err)
	_, err = w.verifier.Join(t.Context(), token)
	return err
}

func TestKeysAreAskedForOnce(t *testing.T) {
	w := newWorld()
	for range 5 {
		require.NoError(t, w.joins(t, newKey("own")))
	}
	require.Equal(t, 1, w.asked)
}

func TestRotationIsNoticedByTheNewKeysFirstToken(t *testing.T) {
	w := newWorld()
	require.NoError(t, w.joins(t, newKey("own")))
	w.change(func() {
		w.own = []secrets.PublicKey{newKey("next").public(), newKey("own").public()}
		w.now = w.now.Add(refreshInterval)
	})
	require.NoError(t, w.joins(t, newKey("next")))
	require.NoError(t, w.joins(t, newKey("own")), "both keys are valid at once")
	require.Equal(t, 2, w.asked)
}

func TestUnknownKeyIDsDoNotFloodTheSource(t *testing.T) {
	w := newWorld()
	require.NoError(t, w.joins(t, newKey("own")))
	for i := range 50 {
		require.Equal(t, CodeUnknownKey, RefusalCode(w.joins(t, newKey(fmt.Sprintf("invented-%d", i)))))
	}
	require.Equal(t, 1, w.asked)
	w.change(func() { w.now = w.now.Add(refreshInterval) })
	for i := range 50 {
		require.Equal(t, CodeUnknownKey, RefusalCode(w.joins(t, newKey(fmt.Sprintf("invented-%d", i)))))
	}
	require.Equal(t, 2, w.asked)
}

func TestWithdrawnKeyStopsWorking(t *testing.T) {
	w := newWorld()
	require.NoError(t, w.joins(t, newKey("own")))
	w.change(func() { w.own = []secrets.PublicKey{newKey("next").public()} })
	require.NoError(t, w.joins(t, newKey("own")), "from cache")
	w.change(func() { w.now = w.now.Add(refreshAge) })
	require.Equal(t, CodeUnknownKey, RefusalCode(w.joins(t, newKey("own"))))
}

func TestLastGoodKeysServeWhileTheSourceFails(t *testing.T) {
	w := newWorld()
	require.NoError(t, w.joins(t, newKey("own")))
	w.change(func() { w.failure, w.now = secrets.ErrUnavailable, w.now.Add(10*refreshAge) })
	require.NoError(t, w.joins(t, newKey("own")))
	require.Equal(t, CodeUnknownKey, RefusalCode(w.joins(t, newKey("next"))))
	asked := w.asked
	require.NoError(t, w.joins(t, newKey("own")))
	require.Equal(t, asked, w.asked, "a failing source is not asked for every token")
}

func TestWithoutAnyKeysATokenIsNotJudged(t *testing.T) {
	w := newWorld()
	w.change(func() { w.failure = secrets.ErrUnavailable })
	err := w.joins(t, newKey("own"))
	require.ErrorIs(t, err, secrets.ErrUnavailable)
	require.Empty(t, RefusalCode(err))

	w.change(func() { w.failure, w.now = nil, w.now.Add(refreshInterval) })
	require.NoError(t, w.joins(t, newKey("own")), "as soon as the source is back")
}

func TestBearerWhoHangsUpDoesNotSpoilTheRefresh(t *testing.T) {
	w := newWorld()
	ring := &keyring{now: func() time.Time { return noon }, load: func(ctx context.Context) ([]secrets.PublicKey, error) {
		return w.own, ctx.Err()
	}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, found, err := ring.key(ctx, "own")
	require.NoError(t, err)
	require.True(t, found)
}

func TestSlowSourceHoldsUpNobodyWhoseKeyIsAtHand(t *testing.T) {
	w := newWorld()
	asked, answer := make(chan struct{}), make(chan struct{})
	first := true
	ring := &keyring{now: func() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.now }}
	ring.load = func(context.Context) ([]secrets.PublicKey, error) {
		if !first {
			close(asked)
			<-answer
		}
		first = false
		return w.own, nil
	}
	_, _, err := ring.key(t.Context(), "own")
	require.NoError(t, err)
	w.change(func() { w.now = w.now.Add(refreshAge) })

	var group sync.WaitGroup
	group.Go(func() { _, _, _ = ring.key(t.Context(), "own") })
	<-asked
	_, found, err := ring.key(t.Context(), "own")
	require.NoError(t, err)
	require.True(t, found, "while the other still waits")
	close(answer)
	group.Wait()
}

func TestInventedTenantsDoNotFillTheMemory(t *testing.T) {
	w := newWorld()
	ask := func(tenant string) {
		keys, refusal := w.verifier.keysOf(t.Context(), tenantIssuerPrefix+tenant)
		require.Nil(t, refusal)
		_, _, err := keys.key(t.Context(), "clinic-key")
		require.NoError(t, err)
	}
	ask("clinic")
	kept := w.verifier.keyrings["clinic"]
	for i := range maxKeyrings + 10 {
		ask(fmt.Sprintf("invented-%d", i))
	}
	require.LessOrEqual(t, len(w.verifier.keyrings), maxKeyrings)
	require.Same(t, kept, w.verifier.keyrings["clinic"], "real tenants stay")
}

func TestMoreTenantsThanFitAreLoadedAgain(t *testing.T) {
	w := newWorld()
	for i := range maxKeyrings {
		w.verifier.keyrings[fmt.Sprint(i)] = &keyring{keys: map[string]ed25519.PublicKey{"k": nil}}
	}
	_, refusal := w.verifier.keysOf(t.Context(), "tenant:clinic")
	require.Nil(t, refusal)
	require.Len(t, w.verifier.keyrings, 1)
}

func TestKeysOfWrongLengthAreIgnored(t *testing.T) {
	w := newWorld()
	w.own = append(w.own, secrets.PublicKey{ID: "short", Key: []byte{1}})
	require.Equal(t, CodeUnknownKey, RefusalCode(w.joins(t, newKey("short"))))
}

func TestTenantSourceFailureIsNoRefusal(t *testing.T) {
	w := newWorld()
	w.failure = errors.New("disk on fire")
	token, err := MintTenant(t.Context(), newKey("clinic-key"), clinicGrant(), noon, noon)
	require.NoError(t, err)
	_, err = w.verifier.Join(t.Context(), token)
	require.ErrorIs(t, err, w.failure)
}
