package turn

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/pion/stun/v3"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/secrets"
)

// slowKeeper has looks at the secret hang from hang on until the test ends; looked is told of them.
func slowKeeper(t *testing.T) (_ option, hang func(), looked <-chan struct{}) {
	t.Helper()
	slow, release, told := make(chan struct{}), make(chan struct{}), make(chan struct{}, 1)
	slowly := func(c *Config, l *limits) {
		l.secretRefresh, l.secretRetry = time.Hour, 0
		fetch := c.Secret
		c.Secret = func(ctx context.Context) (secrets.Shared, error) {
			select {
			case <-slow:
				select {
				case told <- struct{}{}:
				default:
				}
				<-release
			default:
			}
			return fetch(ctx)
		}
	}
	return slowly, func() { t.Cleanup(func() { close(release) }); close(slow) }, told
}

// requestOf is a request with somebody's credentials.
func TestAllocationsOutlastCredentialsOfOneSessionAlone(t *testing.T) {
	for id, outlasts := range map[string]bool{"visit.participant.session": true, "standby-1": false} {
		t.Run(id, func(t *testing.T) {
			r := startRelay(t)
			c := newRawClient(t, r)
			expires := time.Now().Truncate(time.Second).Add(2 * time.Second)
			username, password := secrets.TURNCredential(r.secret, id, expires)
			c.as(login{username, password})
			c.requireSuccess(stun.MethodAllocate, transportAttribute(protocolUDP), lifetime(600))
			c.requireSuccess(stun.MethodRefresh, lifetime(600))
			require.Eventually(t, func() bool { return time.Now().After(expires) }, patience, tick)
			if outlasts {
				c.requireSuccess(stun.MethodRefresh, lifetime(600))
			} else {
				requireCode(t, c.request(stun.MethodRefresh, lifetime(600)), stun.CodeUnauthorized)
			}
		})
	}
}

func requestOf(l login) *stun.Message {
	return stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest), transportAttribute(protocolUDP),
		stun.NewUsername(l.username), stun.NewRealm(testRealm), stun.NewLongTermIntegrity(l.username, testRealm, l.password))
}

func TestNobodysMediaWaitsForTheSecret(t *testing.T) {
	keeper, hang, looked := slowKeeper(t)
	r, peer := startRelay(t, keeper), echo(t)
	r.allow(peer.LocalAddr(), true)
	conn := r.allocate("udp")
	requireEcho(t, conn, peer.LocalAddr())
	hang()
	wrong := requestOf(credentialsFrom(secrets.Shared{Current: []byte("another secret")}, time.Now().Add(time.Hour))).Raw
	for range 8 * maxShards { // from so many sockets that each shard gets one
		_, err := r.dial("udp").WriteTo(wrong, net.UDPAddrFromAddrPort(r.Addr()))
		require.NoError(t, err)
	}
	<-looked
	requireEcho(t, conn, peer.LocalAddr())
}

func TestVerifyLooksOnce(t *testing.T) {
	release, looks := make(chan struct{}), 0
	c := &credentials{
		fetch: func(context.Context) (secrets.Shared, error) {
			looks++
			<-release
			return secrets.Shared{Current: []byte("rotated secret"), Previous: []byte("current secret")}, nil
		},
		realm: testRealm, now: time.Now, retry: time.Hour, shared: secrets.Shared{Current: []byte("current secret")},
	}
	good := credentialsFrom(secrets.Shared{Current: []byte("rotated secret")}, time.Now().Add(time.Hour))
	request := requestOf(good)
	for range 2 {
		_, err := c.verify(request, false)
		require.ErrorIs(t, err, errLooking)
	}
	waited := make(chan error, 1)
	go func() {
		_, err := c.verify(requestOf(good), true)
		waited <- err
	}()
	close(release)
	require.NoError(t, <-waited)
	c.looks.Wait()
	found, err := c.verify(request, false)
	require.NoError(t, err)
	require.Equal(t, good.username, found.username)
	wrong := requestOf(credentialsFrom(secrets.Shared{Current: []byte("another secret")}, time.Now().Add(time.Hour)))
	for _, wait := range []bool{false, true} {
		_, err = c.verify(wrong, wait)
		require.ErrorIs(t, err, errWrongKey, "that was just looked up")
	}
	require.Equal(t, 1, looks)
}

// TestWhoComesWhileTheSecretIsLookedUpIsLetIn has a look end between a request's check against the old secret and its own look.
func TestWhoComesWhileTheSecretIsLookedUpIsLetIn(t *testing.T) {
	rotated := secrets.Shared{Current: []byte("rotated secret")}
	c := &credentials{
		fetch: func(context.Context) (secrets.Shared, error) { return rotated, nil },
		realm: testRealm, retry: time.Hour, shared: secrets.Shared{Current: []byte("current secret")},
	}
	looked := false
	c.now = func() time.Time {
		if !looked {
			looked = true
			require.NoError(t, c.refresh(t.Context()))
		}
		return time.Now()
	}
	_, err := c.verify(requestOf(credentialsFrom(rotated, time.Now().Add(time.Hour))), false)
	require.NoError(t, err)
}

func TestWhoIsKnownOutlivesTheKeeper(t *testing.T) {
	shared := secrets.Shared{Current: []byte("current secret")}
	c := &credentials{
		fetch: func(context.Context) (secrets.Shared, error) { return secrets.Shared{}, secrets.ErrUnavailable },
		realm: testRealm, now: time.Now, shared: shared,
	}
	require.ErrorIs(t, c.refresh(t.Context()), secrets.ErrUnavailable)
	_, err := c.verify(requestOf(credentialsFrom(shared, time.Now().Add(time.Hour))), false)
	require.NoError(t, err)
	require.NoError(t, c.ready())
}
