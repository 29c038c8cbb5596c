package turn

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/pion/stun/v3"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/revocation"
	"github.com/wardline/wardline/core/secrets"
)

// loginOf returns valid credentials of somebody.
func (r *relay) loginOf(id string) login {
	r.mu.Lock()
	defer r.mu.Unlock()
	username, password := secrets.TURNCredential(r.secret, id, time.Now().Add(time.Hour))
	return login{username, password}
}

func revocationOf(credentials ...string) []revocation.Entry {
	entries := make([]revocation.Entry, 0, len(credentials))
	for _, credential := range credentials {
		entries = append(entries, revocation.Entry{Credential: credential, Until: time.Now().Add(time.Hour)})
	}
	return entries
}

func TestRevokingEndsAllocationsOfTheUserAlone(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			r, peer := startRelay(t), echo(t)
			r.allow(peer.LocalAddr(), true)
			gone, stays := r.loginOf("visit.p1.s1"), r.loginOf("visit.p2.s1")
			client := r.client(transport, gone)
			ended, err := client.Allocate()
			require.NoError(t, err)
			defer func() { _ = ended.Close() }()
			other, err := r.client(transport, stays).Allocate()
			require.NoError(t, err)
			defer func() { _ = other.Close() }()
			requireEcho(t, ended, peer.LocalAddr())
			requireEcho(t, other, peer.LocalAddr())

			require.Equal(t, 1, r.relays.revoke(revocationOf("visit.p1")))
			require.Equal(t, 1, r.Allocations())
			require.Zero(t, r.relays.revoke(revocationOf("visit.p1")), "said again it ends nothing")
			require.InDelta(t, 1, testutil.ToFloat64(r.metrics.allocationsRevoked), 0)
			if transport != "udp" {
				require.Eventually(t, func() bool {
					return testutil.ToFloat64(r.metrics.connections.WithLabelValues(transport)) == 1
				}, patience, tick, "its connection ends with it, the other's goes on")
			}

			sent := testutil.ToFloat64(r.metrics.packets[fromPeer])
			_, _ = ended.WriteTo([]byte("late"), peer.LocalAddr())
			_, _ = peer.WriteTo([]byte("late"), ended.LocalAddr())
			requireEcho(t, other, peer.LocalAddr())
			require.GreaterOrEqual(t, testutil.ToFloat64(r.metrics.packets[fromPeer]), sent+1, "the other's goes on")

			_, err = r.client(transport, gone).Allocate()
			require.ErrorContains(t, err, "403", "it makes no new one")
			_, err = r.client(transport, r.loginOf("visit.p1.s2")).Allocate()
			require.ErrorContains(t, err, "403", "nor do other sessions of the participant")
			require.Positive(t, testutil.ToFloat64(r.metrics.authFailures.WithLabelValues("revoked")))
			again, err := r.client(transport, stays).Allocate()
			require.NoError(t, err)
			require.NoError(t, again.Close())
		})
	}
}

func TestRequestsAboutARevokedAllocationFindNone(t *testing.T) {
	r, peer := startRelay(t), echo(t)
	r.allow(peer.LocalAddr(), true)
	client := r.client("udp", r.loginOf("visit.p1.s1"))
	conn, err := client.Allocate()
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, client.CreatePermission(peer.LocalAddr()))
	require.Equal(t, 1, r.relays.revoke(revocationOf("visit.p1.s1")))
	require.ErrorContains(t, client.CreatePermission(peer.LocalAddr()), "437")
}

func TestRevocationsEndWithTheCredentials(t *testing.T) {
	r := startRelay(t)
	past := []revocation.Entry{{Credential: "visit", Until: time.Now().Add(-time.Second)}}
	require.Zero(t, r.relays.revoke(past))
	require.Zero(t, r.relays.countRevoked())
	forever := []revocation.Entry{{Credential: "visit", Until: time.Now().Add(1000 * time.Hour)}}
	require.Zero(t, r.relays.revoke(forever))
	require.True(t, r.relays.denied.Covers("visit.p", time.Now().Add(maxRevoked-time.Minute)))
	require.False(t, r.relays.denied.Covers("visit.p", time.Now().Add(maxRevoked+time.Minute)), "no gateway denies for longer")
}

// An allocation that is being made while its user is revoked is either refused or ended: none is left over.
func TestNoAllocationSlipsThroughARevocation(t *testing.T) {
	r := startRelay(t)
	const rounds = 40
	for round := range rounds {
		user := "visit.p" + strconv.Itoa(round)
		client := r.client("udp", r.loginOf(user))
		var revoking sync.WaitGroup
		revoking.Go(func() {
			for range round * 2 {
				_ = r.Allocations() // some work, so that the moments differ
			}
			r.relays.revoke(revocationOf(user))
		})
		conn, err := client.Allocate()
		revoking.Wait()
		if err == nil {
			_ = conn.Close()
		}
		require.Zero(t, r.Allocations())
		client.Close()
	}
}

func TestRevokedUserGetsNoAddressThatWasBeingOpened(t *testing.T) {
	r := startRelay(t)
	conn, _, err := r.relays.open("visit.p1.s1", 0)
	require.NoError(t, err)
	require.Zero(t, r.relays.revoke(revocationOf("visit.p1.s1")), "it is not the user's yet")
	require.False(t, r.relays.admit(conn))
	require.NoError(t, conn.Close())
	require.Zero(t, r.Allocations())
}

func TestRevokedRequestIsAnsweredByMethod(t *testing.T) {
	require.Equal(t, stun.CodeForbidden, revokedCode(stun.MethodAllocate))
	for _, method := range []stun.Method{stun.MethodRefresh, stun.MethodCreatePermission, stun.MethodChannelBind} {
		require.Equal(t, stun.CodeAllocMismatch, revokedCode(method))
	}
}

func FuzzRevoke(f *testing.F) {
	f.Add("visit.p1.s1", "visit.p1")
	f.Add("", ".")
	f.Add("a..b", "a.")
	f.Fuzz(func(t *testing.T, user, revoked string) {
		g := fuzzGuard()
		conn := &relayConn{relays: g.relays, user: user}
		require.True(t, g.relays.admit(conn))
		over := g.relays.deny(revocationOf(revoked))
		require.Equal(t, len(over) == 1, g.relays.revoked(user))
		require.Equal(t, !g.relays.revoked(user), g.relays.admit(conn))
	})
}
