package client

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pion/rtp/codecs"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/client/peer"
)

func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "8") // they wait for media most of the time
	goleak.VerifyTestMain(m)
}

// at is a moment, in milliseconds of a test's own time.
func at(ms int) time.Time {
	return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(time.Duration(ms) * time.Millisecond)
}

func TestGapsAreBetweenPackets(t *testing.T) {
	for name, test := range map[string]struct {
		packets []int // when they came
		gaps    []int // their lengths
	}{
		"nothing":             {nil, nil},
		"one packet":          {[]int{1000}, nil},
		"a steady stream":     {[]int{0, 20, 40, 61, 80}, nil},
		"some jitter":         {[]int{0, 20, 170, 171}, nil},
		"a gap":               {[]int{0, 20, 171, 190}, []int{151}},
		"two gaps":            {[]int{0, 200, 220, 1500}, []int{200, 1280}},
		"noted out of order":  {[]int{0, 200, 190, 220}, []int{200}},
		"noted twice at once": {[]int{0, 0, 20, 20}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var g gaps
			var found []int
			for _, ms := range test.packets {
				if ended, ok := g.heard(at(ms)); ok {
					found = append(found, int(ended.length().Milliseconds()))
					require.Equal(t, at(ms), ended.end)
				}
			}
			require.Equal(t, test.gaps, found)
		})
	}
}

func TestSilenceIsToldOnceUntilItEnds(t *testing.T) {
	var g gaps
	_, fell := g.fellSilent(at(5000))
	require.False(t, fell, "nobody was heard yet")
	g.heard(at(0))
	_, fell = g.fellSilent(at(999))
	require.False(t, fell)
	since, fell := g.fellSilent(at(1000))
	require.True(t, fell)
	require.Equal(t, at(0), since)
	_, fell = g.fellSilent(at(2000))
	require.False(t, fell)
	g.heard(at(3000))
	_, fell = g.fellSilent(at(4000))
	require.True(t, fell)
}

func TestTheLongestIntervalCountsUntilItIsHarvested(t *testing.T) {
	var g gaps
	require.Zero(t, g.harvest(at(0)))
	for _, ms := range []int{0, 20, 100, 120} {
		g.heard(at(ms))
	}
	require.Equal(t, 80*time.Millisecond, g.harvest(at(130)))
	require.Equal(t, 380*time.Millisecond, g.harvest(at(500)), "one that goes on")
	g.heard(at(600))
	require.Equal(t, 480*time.Millisecond, g.harvest(at(610)), "and from its beginning")
	require.Equal(t, 20*time.Millisecond, g.harvest(at(620)))
}

func TestReceptionCountsOverAllLegs(t *testing.T) {
	var events []Event
	r := newReception(func(e Event) { events = append(events, e) })
	old, young := newHearing(1), newHearing(2)
	audio, video := stream{"p-1", signaling.Microphone}, stream{"p-1", signaling.Camera}
	require.True(t, r.listen(old, audio).packet(at(0)))
	require.False(t, r.listen(old, audio).packet(at(20)))
	require.True(t, r.listen(old, video).packet(at(30)))
	require.True(t, r.listen(young, audio).packet(at(120)), "in time on the other leg")
	require.True(t, r.has(young, audio))
	require.False(t, r.has(young, video))
	r.stats(at(130), Event{Leg: 2, Path: "host"})
	require.Equal(t, []Event{
		{Kind: Media, From: "p-1", Source: "microphone", Leg: 1},
		{Kind: Media, From: "p-1", Source: "camera", Leg: 1},
		{Kind: Media, From: "p-1", Source: "microphone", Leg: 2},
		{Kind: Stats, From: "p-1", Packets: 3, VideoPackets: 1, LongestGapMs: 100, Leg: 2, Path: "host"},
	}, events)

	events = nil
	r.only(nil)
	r.silences(at(5000))
	r.stats(at(5000), Event{})
	require.Empty(t, events, "somebody who left is no loss")
	r.listen(young, audio).packet(at(6000))
	require.Equal(t, []Event{{Kind: Gap, From: "p-1", Leg: 2, Start: at(120), End: at(6000), Ms: 5880}}, events,
		"but a roster that forgot somebody hides no gap")
	events = nil
	r.only([]string{"p-1"})
	r.silences(at(7000))
	require.Equal(t, []Event{{Kind: Silent, From: "p-1", Since: at(6000)}}, events)
}

func TestSilenceIsToldWhenItIsDue(t *testing.T) {
	var told []string
	r := newReception(func(e Event) {
		if e.Kind == Silent {
			told = append(told, e.From)
		}
	})
	on := newHearing(1)
	r.silences(at(0))
	for start, id := range map[int]string{200: "b", 210: "a", 700: "c"} {
		r.listen(on, stream{id, signaling.Microphone}).packet(at(start))
	}
	for _, each := range []struct {
		at   int
		told []string
	}{
		{1050, nil}, {1199, nil}, {1250, []string{"a", "b"}}, {1650, nil}, {1700, []string{"c"}}, {3000, nil},
	} {
		told = nil
		r.silences(at(each.at))
		require.Equal(t, each.told, told, "at %d ms", each.at)
	}
}

func TestSayingThatALegChangedWaitsForNoLoop(t *testing.T) {
	c := &client{nudged: make(chan struct{}, 1)}
	c.nudge()
	c.nudge()
	require.Len(t, c.nudged, 1, "the loop looks at all there is")
}

func TestGatewaysAreTriedInTurn(t *testing.T) {
	const a, b, c = "https://a.example", "https://b.example", "https://c.example"
	g := newGateways([]string{a, b})
	tried := func() string {
		wait := g.lost(0.5)
		return strings.TrimPrefix(g.current(), "https://") + " " + wait.String()
	}
	require.Equal(t, a, g.current())
	require.Equal(t, "b.example 0s", tried())
	require.False(t, g.roundOver())
	require.Equal(t, "a.example 0s", tried())
	require.True(t, g.roundOver())
	require.Equal(t, []string{"b.example 250ms", "a.example 250ms", "b.example 500ms"}, []string{tried(), tried(), tried()})

	g.welcomed([]string{b, "https://C.example/", "not a url", b})
	require.Equal(t, b, g.current())
	require.Equal(t, []string{"c.example 0s", "a.example 0s", "b.example 0s", "c.example 250ms"},
		[]string{tried(), tried(), tried(), tried()})
	g.learn([]string{b})
	require.Equal(t, c, g.current(), "the one in use stays")
	g.lost(0.5)
	g.welcomed(nil)
	require.Equal(t, []string{"c.example 0s", "a.example 0s"}, []string{tried(), tried()}, "what is known stays known")

	alone := newGateways([]string{a})
	require.Equal(t, []time.Duration{0, 187500 * time.Microsecond, 625 * time.Millisecond, time.Second, 2 * time.Second, 2 * time.Second},
		[]time.Duration{alone.lost(0), alone.lost(0), alone.lost(1), alone.lost(0.5), alone.lost(0.5), alone.lost(0.5)})
}

func TestGatewaysAreBounded(t *testing.T) {
	g := newGateways([]string{"https://a.example"})
	var many []string
	for n := range 100 {
		many = append(many, "https://g"+string(rune('a'+n%26))+strings.Repeat("x", n)+".example")
	}
	g.welcomed(many)
	require.Len(t, g.order, maxGateways)
}

func TestConfigsThatAreNotAllowed(t *testing.T) {
	const after = "without anything after it"
	for name, test := range map[string]struct {
		config Config
		says   string
	}{
		"no token": {Config{Gateways: []string{"https://a.example"}}, "token"},
		"a region that cannot be": {
			Config{Token: "secret-token", Gateways: []string{"https://a.example"}, RTT: map[string]float64{"here": -1}}, "rtt here",
		},
		"no gateway":      {Config{Token: "secret-token"}, "at least one"},
		"no scheme":       {Config{Token: "secret-token", Gateways: []string{"a.example:8443"}}, "must be https://HOST:PORT"},
		"another scheme":  {Config{Token: "secret-token", Gateways: []string{"ws://a.example"}}, "must be https://HOST:PORT"},
		"a path":          {Config{Token: "secret-token", Gateways: []string{"https://a.example/visit"}}, after},
		"a token in it":   {Config{Token: "secret-token", Gateways: []string{"https://a.example#secret-token"}}, after},
		"somebody's name": {Config{Token: "secret-token", Gateways: []string{"https://me:secret-token@a.example"}}, after},
	} {
		t.Run(name, func(t *testing.T) {
			err := Run(t.Context(), test.config)
			require.ErrorContains(t, err, test.says)
			require.NotContains(t, err.Error(), "secret-token")
		})
	}
}

func TestLoopbackGatewaysAllowLoopbackMedia(t *testing.T) {
	for base, want := range map[string]bool{
		"http://127.0.0.1:80": true, "https://localhost": true, "https://[::1]:8443": true,
		"https://10.0.0.1": false, "https://a.example": false,
	} {
		require.Equal(t, want, isLoopback(base), base)
	}
}

func TestALegTakesOverWhenItFlows(t *testing.T) {
	for name, test := range map[string]struct {
		connected, offered int // ms; negative: not yet
		patient, missing   bool
		now                int
		want               bool
	}{
		"not connected":                      {-1, -1, false, false, 9000, false},
		"the first leg":                      {100, -1, false, true, 100, true},
		"waits for an offer":                 {100, -1, true, false, 2099, false},
		"but not for ever":                   {100, -1, true, false, 2100, true},
		"waits for what was offered":         {100, 200, true, true, 3099, false},
		"which may never come":               {100, 200, true, true, 3100, true},
		"everything has come":                {100, 200, true, false, 300, true},
		"nobody is patient without a reason": {100, 200, false, true, 300, true},
	} {
		t.Run(name, func(t *testing.T) {
			l := &leg{patient: test.patient}
			if test.connected >= 0 {
				l.connectedAt = at(test.connected)
			}
			if test.offered >= 0 {
				l.offeredAt = at(test.offered)
			}
			require.Equal(t, test.want, l.flows(at(test.now), test.missing))
		})
	}
}

func TestALegThatDiedIsGivenUpAfterItsGrace(t *testing.T) {
	settings := newSettings(Config{RelayOnly: true})
	api, err := peer.Publishing(settings)
	require.NoError(t, err)
	l, err := newLeg(api, settings, configuration(nil, true), signaling.Route{Leg: 1}, func(signaling.Message) {}, legEvents{
		changed: func() {}, candidate: func(signaling.Candidate) {},
	})
	require.NoError(t, err)
	defer l.close()
	all := &legs{open: []*leg{l}}
	require.False(t, all.step(at(0)), "nothing was started")
	l.pub.started = true
	require.NoError(t, l.pub.pc.Close())
	for waited, want := range map[time.Duration]bool{0: false, failedGrace - 1: false, failedGrace: true} {
		l.failedAt = at(0)
		require.Equal(t, want, all.step(at(0).Add(waited)), "after %s", waited)
	}
}

func TestPicturesAreKeyFrames(t *testing.T) {
	for _, n := range []uint32{0, 1, 127, 128, 40_000} {
		packet := videoPacket(n, keyFrame)
		var vp8 codecs.VP8Packet
		frame, err := vp8.Unmarshal(packet.Payload)
		require.NoError(t, err)
		require.Equal(t, uint16(n&0x7fff), vp8.PictureID)
		require.Equal(t, uint8(1), vp8.S)
		require.Zero(t, frame[0]&1, "a key frame")
		require.Equal(t, []byte{0x9d, 0x01, 0x2a}, frame[3:6], "its start code")
		require.True(t, packet.Marker)
		require.Equal(t, n*9000, packet.Timestamp)
	}
	first, second := audioPacket(7, opusSilence), audioPacket(8, opusSilence)
	require.Equal(t, uint32(960), second.Timestamp-first.Timestamp)
	require.Equal(t, uint16(1), second.SequenceNumber-first.SequenceNumber)
}

func TestEventsAreDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "drills.md"))
	require.NoError(t, err)
	for _, kind := range []Kind{Connecting, Joined, Admitted, Placed, Media, Gap, Silent, Stats, Lost, Bye, Refused, Ended} {
		require.Contains(t, string(page), "\n| `"+string(kind)+"` |")
	}
	for _, loss := range []string{LossTimeout, LossUnreachable, LossClosed, LossSilence, LossRefused, LossBye, LossMedia} {
		require.Contains(t, string(page), "`"+loss+"`")
	}
	full := Event{
		T: at(0), Kind: Gap, Gateway: "x", GatewayID: "x", Session: "x", Participant: "x", Resumed: true, State: "x", Error: "x", SFU: "x",
		Region: "x", Epoch: 1, Leg: 1, Reason: "x", Abrupt: true, From: "x", Source: "x", Start: at(0), End: at(0), Ms: 1, Since: at(0),
		Packets: 1, VideoPackets: 1, LongestGapMs: 1, Path: "x", Relay: "x", RTTMs: 1, StallMs: 1, Code: "x",
	}
	encoded, err := json.Marshal(full)
	require.NoError(t, err)
	var members map[string]any
	require.NoError(t, json.Unmarshal(encoded, &members))
	require.Len(t, members, 29)
	for member := range members {
		require.Contains(t, string(page), "`"+member+"`")
	}
	encoded, err = json.Marshal(Event{T: at(0), Kind: Admitted})
	require.NoError(t, err)
	require.JSONEq(t, `{"t":"2026-01-02T03:04:05Z","event":"admitted"}`, string(encoded))
}

func FuzzRegions(f *testing.F) {
	f.Add([]byte(`{"regions":[{"region":"east","urls":["https://a.example"]},{"region":"","urls":null}]}`))
	f.Add([]byte(`{"regions":7}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, content []byte) {
		found, err := parseRegions(content)
		if err != nil {
			return
		}
		for _, each := range found {
			require.True(t, signaling.ValidID(each.Region), "a join may carry it")
		}
	})
}

func FuzzBaseURL(f *testing.F) {
	for _, seed := range []string{"https://a.example:8443", "http://[::1]/", "https://a@b", "//", "https://a?b#c", "%"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		base, err := baseURL(text)
		if err != nil {
			return
		}
		again, err := baseURL(base)
		require.NoError(t, err)
		require.Equal(t, base, again)
	})
}

func TestWhatEndsASocketHasAName(t *testing.T) {
	for name, test := range map[string]struct {
		err    error
		opened bool
		want   string
	}{
		"no answer to a dial":     {fmt.Errorf("dial: %w", context.DeadlineExceeded), false, LossTimeout},
		"a system's timeout":      {&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, false, LossTimeout},
		"nobody listens":          {&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, false, LossUnreachable},
		"an unknown certificate":  {x509.UnknownAuthorityError{}, false, LossUnreachable},
		"the connection is reset": {&net.OpError{Op: "read", Err: syscall.ECONNRESET}, true, LossClosed},
		"the gateway hung up":     {io.EOF, true, LossClosed},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, test.want, lossOf(test.err, test.opened)) })
	}
}

func TestASilentGatewayHasItsTime(t *testing.T) {
	for name, test := range map[string]struct {
		socket socket
		now    int
		want   string
	}{
		"still dialing":         {socket{begun: at(0)}, 6199, ""},
		"never welcomed":        {socket{begun: at(0)}, 6200, LossTimeout},
		"nothing was asked":     {socket{begun: at(0), welcomed: true}, 60_000, ""},
		"a pong may still come": {socket{welcomed: true, pongDue: at(3000)}, 2999, ""},
		"no pong came":          {socket{welcomed: true, pongDue: at(3000)}, 3000, LossSilence},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, test.want, test.socket.overdue(at(test.now))) })
	}
}

func TestWhoIsNotSelectedIsNotMissed(t *testing.T) {
	var events []Event
	r := newReception(func(e Event) { events = append(events, e) })
	on := newHearing(1)
	begin := time.Unix(100, 0)
	for _, id := range []string{"heard", "dropped"} {
		r.listen(on, stream{id, signaling.Microphone}).packet(begin)
	}
	s := &subscriber{}
	s.carry([]signaling.Track{
		{MID: "0", Source: signaling.Microphone, Participant: "heard"}, {MID: "1", Source: signaling.Camera, Participant: "dropped"},
	})
	require.Equal(t, stream{"dropped", signaling.Camera}, s.streams()["1"])
	r.expect(s.streams())
	events = nil
	r.silences(begin.Add(2 * silentAfter))
	require.Len(t, events, 1)
	require.Equal(t, "heard", events[0].From)
	events = nil
	r.listen(on, stream{"dropped", signaling.Microphone}).packet(begin.Add(time.Minute))
	require.Empty(t, events, "nor was there a gap")
}
