package gateway

import (
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/signaling"
)

func TestOutboxIsBoundedByWhatIsUnread(t *testing.T) {
	o := newOutbox()
	half := make([]byte, maxQueuedBytes/2)
	for range 10 {
		require.True(t, o.push(half), "what was read does not count")
		_, ended := o.pop()
		require.False(t, ended)
	}
	require.True(t, o.push(half))
	require.True(t, o.push(half))
	require.False(t, o.push([]byte{1}))

	o = newOutbox()
	for range maxQueuedMessages {
		require.True(t, o.push(nil))
	}
	require.False(t, o.push(nil))
}

func TestSlowClientsLastMessageComesFirst(t *testing.T) {
	for _, drop := range []bool{false, true} {
		o := newOutbox()
		require.True(t, o.push([]byte("unread")))
		require.True(t, o.finish([]byte("bye"), drop, websocket.StatusNormalClosure, ""))
		require.True(t, o.finished())
		data, _ := o.pop()
		require.Equal(t, drop, string(data) == "bye")
	}
}

func TestLegThatOpensForgetsItsFailures(t *testing.T) {
	route := signaling.Route{Leg: 1, Epoch: 1}
	l := &local{session: session{Leg: leg{Route: route, SFU: "sfu-1", Phase: legOpening, Failures: 1}}}
	(&view{}).attached("sfu-1", l, signaling.Attached{Route: route})
	require.Equal(t, legOpen, l.Leg.Phase)
	require.Zero(t, l.Leg.Failures)
}
