package sfu

import (
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/signaling"
)

// bottleneck carries datagrams between one client and the server, those to the client through a link of some
// rate with a queue before it that drops what does not fit.
type bottleneck struct {
	front, back *net.UDPConn
	elsewhere   atomic.Pointer[net.UDPConn] // in place of back, after roam
	client      atomic.Pointer[net.UDPAddr]
	kilobits    atomic.Int64
	queue       time.Duration
	running     sync.WaitGroup
}

type waiting struct {
	data []byte
	at   time.Time
}

func (w *world) bottleneck(kilobits int64) *bottleneck {
	w.Helper()
	loopback := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}
	front, err := net.ListenUDP("udp", loopback)
	require.NoError(w, err)
	back, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(w.server.MediaAddr()))
	require.NoError(w, err)
	b := &bottleneck{front: front, back: back, queue: 300 * time.Millisecond}
	b.kilobits.Store(kilobits)
	link := make(chan waiting, 10_000)
	b.running.Go(b.up)
	b.running.Go(func() { b.down(link) })
	b.running.Go(func() { b.carry(link) })
	w.Cleanup(func() {
		_, _ = front.Close(), back.Close()
		b.running.Wait()
	})
	return b
}

func (b *bottleneck) up() {
	buffer := make([]byte, 2000)
	for {
		n, from, err := b.front.ReadFromUDP(buffer)
		if err != nil {
			return
		}
		b.client.Store(from)
		b.send(buffer[:n])
	}
}

// down puts each datagram on the link, when it is free.
func (b *bottleneck) down(link chan<- waiting) {
	defer close(link)
	buffer := make([]byte, 2000)
	free := time.Now()
	for {
		n, err := b.back.Read(buffer)
		if err != nil {
			return
		}
		now := time.Now()
		if free.Before(now) {
			free = now
		}
		takes := time.Duration(n+28) * 8 * time.Millisecond / time.Duration(b.kilobits.Load())
		if free.Sub(now)+takes > b.queue {
			continue
		}
		free = free.Add(takes)
		link <- waiting{append([]byte(nil), buffer[:n]...), free}
	}
}

func (b *bottleneck) carry(link <-chan waiting) {
	for each := range link {
		<-time.After(time.Until(each.at))
		if to := b.client.Load(); to != nil {
			_, _ = b.front.WriteToUDP(each.data, to)
		}
	}
}

// redirect makes a description lead here.
func (b *bottleneck) redirect(server string) func(string) string {
	_, port, _ := net.SplitHostPort(server)
	_, here, _ := net.SplitHostPort(b.front.LocalAddr().String())
	return func(description string) string {
		var out strings.Builder
		for line := range strings.Lines(description) {
			if strings.HasPrefix(line, "a=candidate:") && strings.Contains(line, " tcp ") {
				continue
			}
			out.WriteString(strings.ReplaceAll(line, "127.0.0.1 "+port+" ", "127.0.0.1 "+here+" "))
		}
		return out.String()
	}
}

// measuring is an API of a client that gives transport feedback, as browsers do.
func measuring(w *world) *webrtc.API {
	engine := &webrtc.MediaEngine{}
	require.NoError(w, engine.RegisterDefaultCodecs())
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
		for _, uri := range []string{sdp.SDESMidURI, sdp.TransportCCURI} {
			require.NoError(w, engine.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: uri}, kind))
		}
	}
	engine.RegisterFeedback(webrtc.RTCPFeedback{Type: webrtc.TypeRTCPFBTransportCC}, webrtc.RTPCodecTypeVideo)
	engine.RegisterFeedback(webrtc.RTCPFeedback{Type: webrtc.TypeRTCPFBTransportCC}, webrtc.RTPCodecTypeAudio)
	feedback, err := twcc.NewSenderInterceptor()
	require.NoError(w, err)
	registry := &interceptor.Registry{}
	registry.Add(feedback)
	setting := webrtc.SettingEngine{}
	setting.SetIncludeLoopbackCandidate(true)
	_ = setting.SetAnsweringDTLSRole(webrtc.DTLSRoleClient) // as browsers do
	return newAPI(setting, engine, registry)
}

// latest reports whether all packets of the last while came from a stream.
func latest(r *heard, from func(rtp.Packet) bool, while time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := len(r.packets) - 1; i >= 0; i-- {
		if time.Since(r.times[i]) > while {
			return i < len(r.packets)-1
		}
		if !from(r.packets[i]) {
			return false
		}
	}
	return false
}

func TestVideoFitsAPathThatNarrowsAndWidens(t *testing.T) {
	w := newQuietWorld(t)
	g := w.gateway()
	g.admit([]string{alice, bob}, nil)
	a := g.join(attachMessage(alice, signaling.BrowserSession))
	narrow := w.bottleneck(1500)
	b := g.newClient(attachMessage(bob, signaling.BrowserSession))
	b.api, b.redirect = measuring(w), narrow.redirect(w.server.MediaAddr().String())
	g.send(b.session, b.attach)
	await[signaling.Attached](g, b.session)
	b.running.Go(b.follow)
	from := a.publish(true, signaling.Microphone, signaling.Camera)
	for rid, bytes := range map[string]int{"q": 100, "h": 350, "f": 1100} {
		from["camera"+rid].set(func(o *outgoing) { o.fill = bytes })
	}
	flows := func(stream func(rtp.Packet) bool, within time.Duration) time.Duration {
		began := time.Now()
		require.Eventually(t, func() bool {
			r := b.reception(alice, signaling.Camera)
			return r != nil && latest(r, stream, 300*time.Millisecond)
		}, within, 20*time.Millisecond)
		return time.Since(began)
	}
	shows := func(rid string, within time.Duration) time.Duration { return flows(from["camera"+rid].from(), within) }
	first := shows("f", patience)
	narrow.kilobits.Store(300)
	down := shows("q", 5*time.Second)
	narrow.kilobits.Store(1500)
	up := shows("f", 15*time.Second)
	t.Logf("up at first after %v, down after %v, up again after %v", first, down, up)
	require.Positive(t, testutil.ToFloat64(w.server.metrics.probes))
	requireVoice(t, b.reception(alice, signaling.Microphone), 500*time.Millisecond)
	for _, p := range b.reception(alice, signaling.Camera).snapshot() {
		require.NotEmpty(t, p.Payload, "no padding among the media")
	}

	narrow.kilobits.Store(60)
	paused := await(g, b.session, func(m signaling.Paused) bool { return len(m.Tracks) > 0 })
	require.Equal(t, alice, paused.Tracks[0].Participant)
	require.Equal(t, signaling.Camera, paused.Tracks[0].Source)
	narrow.kilobits.Store(1500)
	await(g, b.session, func(m signaling.Paused) bool { return len(m.Tracks) == 0 })
	flows(func(rtp.Packet) bool { return true }, patience)
}

// requireVoice checks that voice never paused for longer.
func requireVoice(t *testing.T, r *heard, longest time.Duration) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	require.NotEmpty(t, r.times)
	gap := time.Duration(0)
	for i := 1; i < len(r.times); i++ {
		gap = max(gap, r.times[i].Sub(r.times[i-1]))
	}
	t.Logf("longest gap of voice %v", gap)
	require.Less(t, gap, longest)
}
