package gateway_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway"
	"github.com/wardline/wardline/edge/gateway/problem"
)

func TestGoodTokenCannotJoinWithoutEnd(t *testing.T) {
	w := newWorld(t)
	g := w.gateway("gw-1")
	token := w.token("patient", access.Patient)
	let := 0
	for ; let < 2000; let++ {
		c := g.dial()
		c.send(signaling.Join{Token: token})
		first, open := <-c.got
		require.True(t, open)
		if refused, is := first.(signaling.Error); is {
			require.Equal(t, "rate-limited", refused.Code)
			require.EqualValues(t, 4429, c.end())
			break
		}
		require.IsType(t, signaling.Welcome{}, first)
		require.NoError(t, c.conn.CloseNow())
	}
	require.GreaterOrEqual(t, let, 200, "no honest client comes back as often as that")
	require.Less(t, let, 2000)
	g.join("doctor", access.Provider) // others are not concerned
}

func TestGoodTokenCannotOpenMediaSessionsWithoutEnd(t *testing.T) {
	w := newWorld(t)
	w.sfu("sfu-1")
	g := w.gateway("gw-1")
	sessions := gateway.MediaSessions(g.Server)
	encoder := w.grant("encoder", access.Provider)
	opened, err := sessions.Open(t.Context(), encoder, signaling.WHIPSession, "", "offer")
	require.NoError(t, err)
	refused := func(err error) bool {
		p, is := errors.AsType[*problem.Problem](err)
		return is && p.Status == 429 && p.Code == problem.RateLimited && p.RetryAfter > 0 && p.RetryAfter <= time.Second
	}
	let := 0
	for ; let < 2000 && err == nil; let++ {
		_, err = sessions.Restart(t.Context(), visit, "encoder", opened.ID, "fragment")
	}
	require.GreaterOrEqual(t, let, 200)
	require.True(t, refused(err), err)
	_, err = sessions.Open(t.Context(), encoder, signaling.WHIPSession, "", "offer")
	require.True(t, refused(err), err)
	_, err = sessions.Open(t.Context(), w.grant("wall", access.Provider), signaling.WHEPSession, "", "offer")
	require.NoError(t, err, "others are not concerned")
}
