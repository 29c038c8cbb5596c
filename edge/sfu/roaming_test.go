package sfu

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/dtlssrtp"
)

// roam gives a client another address, from which nothing but media comes, and returns the socket that has it.
func (b *bottleneck) roam(w *world) *net.UDPConn {
	w.Helper()
	server := net.UDPAddrFromAddrPort(w.server.MediaAddr())
	elsewhere, err := net.DialUDP("udp", nil, server)
	require.NoError(w, err)
	w.Cleanup(func() { _ = elsewhere.Close() })
	b.elsewhere.Store(elsewhere)
	return elsewhere
}

// send takes a datagram of the client to the server.
func (b *bottleneck) send(datagram []byte) {
	switch elsewhere := b.elsewhere.Load(); {
	case elsewhere == nil:
		_, _ = b.back.Write(datagram)
	case dtlssrtp.IsMedia(datagram):
		_, _ = elsewhere.Write(datagram)
	}
}

func TestMediaGoesOnFromAnAddressThatIsNotKnownYet(t *testing.T) {
	w := newWorld(t)
	g := w.gateway()
	g.admit([]string{alice, bob}, nil)
	path := w.bottleneck(100_000)
	a := g.newClient(attachMessage(alice, signaling.BrowserSession))
	a.redirect = path.redirect(w.server.MediaAddr().String())
	g.send(a.session, a.attach)
	await[signaling.Attached](g, a.session)
	a.running.Go(a.follow)
	b := g.join(attachMessage(bob, signaling.BrowserSession))
	from := a.publish(false, signaling.Microphone, signaling.Camera)
	b.awaitPackets(alice, signaling.Microphone, 20, from["microphone"].from())
	b.awaitPackets(alice, signaling.Camera, 20, nil)

	elsewhere := path.roam(w)
	more := func(source signaling.Source) int { return len(b.reception(alice, source).snapshot()) + 30 }
	voices, pictures := more(signaling.Microphone), more(signaling.Camera)
	requireContinuous(w, b.awaitPackets(alice, signaling.Microphone, voices, nil))
	requireContinuous(w, b.awaitPackets(alice, signaling.Camera, pictures, nil))

	require.NoError(t, elsewhere.SetReadDeadline(time.Now().Add(patience)))
	datagram := make([]byte, 2000)
	for range 3 {
		n, err := elsewhere.Read(datagram)
		require.NoError(t, err, "she hears how it arrives")
		require.True(t, dtlssrtp.IsControl(datagram[:n]), "and nothing else before a check came from there")
	}
}
