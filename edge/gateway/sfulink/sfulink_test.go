package sfulink_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/core/signaling/control"
	"github.com/wardline/wardline/edge/gateway/sfulink"
	"github.com/wardline/wardline/edge/gateway/sfutest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	patience = 10 * time.Second
	tick     = 5 * time.Millisecond
)

// events remembers what a pool said.
type events struct {
	mu     sync.Mutex
	up     []uint64
	dead   int
	frames []signaling.Frame
}

func (e *events) LinkUp(_ string, generation uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.up = append(e.up, generation)
}

func (e *events) LinkDead(string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dead++
}

func (e *events) LinkFrame(_ string, frame signaling.Frame) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.frames = append(e.frames, frame)
}

func (e *events) seen() (up, dead, frames int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.up), e.dead, len(e.frames)
}

// start returns a pool and the one SFU it can find.
func start(t *testing.T) (*sfulink.Pool, *sfutest.SFU, *events) {
	t.Helper()
	keeper, err := secrets.OpenLocal(filepath.Join(t.TempDir(), "keys"))
	require.NoError(t, err)
	client, err := keeper.Certificates(t.Context(), secrets.GatewayRole)
	require.NoError(t, err)
	server, err := keeper.Certificates(t.Context(), secrets.SFURole, "127.0.0.1")
	require.NoError(t, err)
	sfu, seen := sfutest.Start(t, "sfu-1", server.Server(secrets.GatewayRole)), &events{}
	pool := sfulink.New(control.PoolConfig{
		ID: "gw-1", Version: "test", TLS: client.Client(secrets.SFURole), Log: zerolog.Nop(),
		Resolve: func(_ context.Context, id string) (string, error) {
			if id == "unknown" {
				return "", errors.New("no such media server")
			}
			return sfu.Service("here").Meta[discovery.MetaControl], nil
		},
	}, seen)
	t.Cleanup(pool.Close)
	return pool, sfu, seen
}

var ref = signaling.EncounterRef{Tenant: "clinic", Encounter: "visit"}

func TestReserveDialsAndIsAnswered(t *testing.T) {
	pool, sfu, seen := start(t)
	require.Equal(t, sfulink.State{Phase: sfulink.Idle}, pool.State("sfu-1"))
	require.NoError(t, pool.Reserve(t.Context(), "sfu-1", ref, 1))
	require.Equal(t, sfulink.State{Phase: sfulink.Up, Generation: 1}, pool.State("sfu-1"))
	require.Equal(t, map[sfulink.Phase]int{sfulink.Up: 1}, pool.Links())
	sfu.Refuse(signaling.RefusedBusy)
	err := pool.Reserve(t.Context(), "sfu-1", ref, 2)
	require.ErrorIs(t, err, sfulink.ErrRefused)
	require.ErrorContains(t, err, signaling.RefusedBusy)
	_, _, frames := seen.seen()
	require.Zero(t, frames, "answers to Reserve are nobody else's business")
}

func TestUnreachableSFUIsDead(t *testing.T) {
	for _, id := range []string{"unknown", "sfu-that-calls-itself-something-else"} {
		pool, _, seen := start(t)
		require.ErrorIs(t, pool.Reserve(t.Context(), id, ref, 1), sfulink.ErrDown)
		require.Equal(t, sfulink.Dead, pool.State(id).Phase)
		require.ErrorIs(t, pool.Send(id, signaling.Frame{Message: signaling.Heartbeat{}}), sfulink.ErrDown)
		require.Eventually(t, func() bool { _, dead, _ := seen.seen(); return dead >= 1 }, patience, tick)
	}
}

func TestFramesTravelBothWays(t *testing.T) {
	pool, sfu, seen := start(t)
	require.NoError(t, pool.Reserve(t.Context(), "sfu-1", ref, 1))
	require.NoError(t, pool.Send("sfu-1", signaling.Frame{
		Session: "s-1", Message: signaling.Detach{Route: signaling.Route{Leg: 1, Epoch: 1}},
	}))
	require.Eventually(t, func() bool { d, _ := sfutest.All[signaling.Detach](sfu); return len(d) == 1 }, patience, tick)
	sfu.Broadcast(signaling.Frame{Session: "s-1", Message: signaling.Speaker{Route: signaling.Route{Leg: 1, Epoch: 1}}})
	require.Eventually(t, func() bool { _, _, frames := seen.seen(); return frames == 1 }, patience, tick)
}

func TestBrokenChannelComesBackAsANewGeneration(t *testing.T) {
	pool, sfu, seen := start(t)
	require.NoError(t, pool.Reserve(t.Context(), "sfu-1", ref, 1))
	sfu.Drop()
	require.Eventually(t, func() bool { return pool.State("sfu-1") == sfulink.State{Phase: sfulink.Up, Generation: 2} }, patience, tick)
	_, dead, _ := seen.seen()
	require.Zero(t, dead)
}

func TestSilenceIsDeathAndEnsureTriesAgain(t *testing.T) {
	t.Parallel()
	pool, sfu, seen := start(t)
	require.NoError(t, pool.Reserve(t.Context(), "sfu-1", ref, 1))
	sfu.Silence(true)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.ErrorIs(t, pool.Reserve(ctx, "sfu-1", ref, 2), sfulink.ErrDown, "what was asked is settled when the channel is lost")
	require.Eventually(t, func() bool { _, dead, _ := seen.seen(); return dead == 1 }, patience, tick)
	sfu.Silence(false)
	require.Eventually(t, func() bool {
		pool.Ensure("sfu-1")
		return pool.State("sfu-1").Phase == sfulink.Up
	}, patience, tick)
}

func TestReserveEndsWithItsContextAndWithThePool(t *testing.T) {
	pool, sfu, _ := start(t)
	require.NoError(t, pool.Reserve(t.Context(), "sfu-1", ref, 1))
	sfu.Silence(true)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, pool.Reserve(ctx, "sfu-1", ref, 2), context.DeadlineExceeded)
	pool.Close()
	require.Error(t, pool.Reserve(t.Context(), "sfu-1", ref, 3))
}
