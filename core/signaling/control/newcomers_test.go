package control_test

import (
	"io"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/core/signaling/control"
)

func TestConnectionsThatSayNothingMakeRoom(t *testing.T) {
	w := newWorld(t)
	link := w.dial(control.Subprotocol)
	w.greet(link)
	address, err := url.Parse(w.address)
	require.NoError(t, err)
	began := time.Now()
	silent := make([]net.Conn, 600)
	for i := range silent {
		silent[i], err = (&net.Dialer{}).DialContext(t.Context(), "tcp", address.Host)
		require.NoError(t, err)
		t.Cleanup(func() { _ = silent[i].Close() })
	}
	require.NoError(t, silent[0].SetReadDeadline(began.Add(time.Second)), "sooner than it would be given up")
	_, err = silent[0].Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)

	require.Equal(t, 1, w.server.Links(), "gateways stay")
	w.send(link, signaling.Frame{Session: "s-1", Message: signaling.Detach{Route: signaling.Route{Leg: 1, Epoch: 1}}})
	require.Equal(t, "s-1", (<-w.recorder.frames).Session)
	w.dial(control.Subprotocol)
}
