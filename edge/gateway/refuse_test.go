package gateway_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway"
)

// blindStore never tells a gateway of a change that somebody else made.
type blindStore struct{ encounter.Store }

func (blindStore) Watch(ctx context.Context, _ encounter.Key) <-chan encounter.Encounter {
	out := make(chan encounter.Encounter)
	go func() {
		<-ctx.Done()
		close(out)
	}()
	return out
}

func TestProviderRemovedElsewhereActsNoMoreBeforeTheirGatewayKnows(t *testing.T) {
	w := newWorld(t)
	g := w.gateway("gw-1", func(c *gateway.Config) { c.Store = blindStore{w.store} })
	provider := g.join("doctor", access.Provider)
	_, err := encounter.Change(t.Context(), w.store, visit, func(e *encounter.Encounter) error { return e.Remove("doctor") })
	require.NoError(t, err)
	provider.send(signaling.End{})
	require.Equal(t, "participant-removed", next[signaling.Error](provider).Code)
	e, err := w.store.Get(t.Context(), visit)
	require.NoError(t, err)
	require.False(t, e.HasEnded())
}

func TestSocketCannotTakeAMediaSessionOver(t *testing.T) {
	w := newWorld(t)
	w.sfu("sfu-1")
	g := w.gateway("gw-1")
	location, _ := g.publish("encoder")
	session := location[strings.LastIndexByte(location, '/')+1:]
	c := g.joinWith(signaling.Join{Token: w.token("encoder", access.Patient), Resume: session})
	require.False(t, c.welcome.Resumed)
	require.NotEqual(t, session, c.welcome.Session)
}

// countedTenants counts the questions for tenants' keys.
type countedTenants struct {
	registered access.TenantKeys
	asked      atomic.Int32
}

func (c *countedTenants) TenantKeys(ctx context.Context, tenant string) ([]secrets.PublicKey, error) {
	c.asked.Add(1)
	return c.registered.TenantKeys(ctx, tenant)
}

func TestThrottledAddressMakesNobodyLookForInventedTenants(t *testing.T) {
	w := newWorld(t)
	tenants := &countedTenants{registered: w.tenants}
	g := w.gateway("gw-1", func(c *gateway.Config) { c.Tenants = tenants })
	for range 15 {
		g.ask(http.MethodPost, "/whip/visit", "bad", "")
	}
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	for i := range 5 {
		token, err := access.MintAPI(key, "key", fmt.Sprintf("invented-%d", i), time.Now(), time.Hour)
		require.NoError(t, err)
		require.Equal(t, http.StatusTooManyRequests, g.ask(http.MethodGet, "/v1/encounters/visit", token, "").StatusCode)
		c := g.dial()
		c.send(signaling.Join{Token: token})
		require.EqualValues(t, 4429, c.end())
	}
	require.Zero(t, tenants.asked.Load())
}

func TestSFUWithoutRoomForALegIsReplaced(t *testing.T) {
	w := newWorld(t)
	full := w.sfu("sfu-1")
	g := w.gateway("gw-1")
	provider, _, _ := g.call()
	full.Refuse(signaling.RefusedBusy)
	w.sfu("sfu-2")
	colleague := g.join("colleague", access.Provider)
	require.Equal(t, "sfu-2", next[signaling.Placed](colleague).SFU)
	moved := next[signaling.Placed](provider)
	require.Equal(t, "sfu-2", moved.SFU)
	require.False(t, moved.Abrupt, "the old one lives, so nobody has to hurry")
}

func TestMuteRequestForSomebodyElseIsNotShown(t *testing.T) {
	w := newWorld(t)
	sfu := w.sfu("sfu-1")
	g := w.gateway("gw-1")
	_, patient, _ := g.call()
	for _, target := range []string{"somebody", "patient"} {
		sfu.Tell(patient.welcome.Session, signaling.MuteRequest{Participant: target, Source: signaling.Camera, By: "doctor"})
	}
	require.Equal(t, "patient", next[signaling.MuteRequest](patient).Participant)
}
