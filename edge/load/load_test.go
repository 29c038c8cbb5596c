package load

import (
	"context"
	"errors"
	"flag"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/wardline/wardline/edge/load/synthetic"
)

func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "6") // they wait for media most of the time
	goleak.VerifyTestMain(m)
}

// hall is a Door to a server that forwards within this process, without a network.
type hall struct {
	lose   func(n int) bool                 // the n-th packet to a guest
	passes func(number int, to *Guest) bool // the publisher whose packets pass
	refuse map[int]error                    // by the guest's number
	attend func(*Guest)
	unread time.Duration // how long packets wait for their guest

	mu     sync.Mutex
	guests []*Guest
	sent   map[*Guest]int
	closed bool
}

func (h *hall) Attend(ctx context.Context, guest *Guest) error {
	if err := h.refuse[guest.Number]; err != nil {
		return err
	}
	h.mu.Lock()
	h.guests = append(h.guests, guest)
	h.mu.Unlock()
	if h.attend != nil {
		h.attend(guest)
	}
	if guest.Source != nil {
		for _, track := range guest.Source.Tracks() {
			out := &port{hall: h, from: guest, ssrc: track.Number() + 1, mime: webrtc.MimeTypeVP8}
			if track.Kind() == webrtc.RTPCodecTypeAudio {
				out.mime = webrtc.MimeTypeOpus
			}
			if _, err := track.Bind(out); err != nil {
				return err
			}
		}
	}
	<-ctx.Done()
	return nil
}

func (h *hall) Close(context.Context) error {
	h.closed = true
	return nil
}

// port is where a track enters the hall.
type port struct {
	webrtc.TrackLocalContext
	hall *hall
	from *Guest
	ssrc uint32
	mime string
}

func (p *port) CodecParameters() []webrtc.RTPCodecParameters {
	return []webrtc.RTPCodecParameters{{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: p.mime}, PayloadType: 96}}
}
func (p *port) HeaderExtensions() []webrtc.RTPHeaderExtensionParameter { return nil }
func (p *port) ID() string                                             { return "port" }
func (p *port) SSRC() webrtc.SSRC                                      { return webrtc.SSRC(p.ssrc) }
func (p *port) WriteStream() webrtc.TrackLocalWriter                   { return p }
func (p *port) RTCPReader() interceptor.RTCPReader                     { return nil }
func (p *port) Write([]byte) (int, error)                              { panic("packets are written as such") }

func (p *port) WriteRTP(header *rtp.Header, payload []byte) (int, error) {
	packet, err := (&rtp.Packet{Header: *header, Payload: payload}).Marshal()
	if err != nil {
		return 0, err
	}
	h := p.hall
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, guest := range h.guests {
		if guest == p.from || guest.Visit != p.from.Visit || h.passes != nil && !h.passes(p.from.Number, guest) {
			continue
		}
		h.sent[guest]++
		if h.lose == nil || !h.lose(h.sent[guest]) {
			guest.Packet(packet, time.Now().Add(-h.unread))
		}
	}
	return len(payload), nil
}

func newHall() *hall { return &hall{sent: make(map[*Guest]int)} }

func config(door Door) Config {
	return Config{
		Visits: 2, Publishers: 2, Subscribers: 1, Duration: time.Second, JoinTimeout: 5 * time.Second, Door: door,
		Format: synthetic.Format{VideoBitrate: 300_000, AudioBitrate: 32_000, FrameRate: 30},
	}
}

func TestARunCountsWhatArrives(t *testing.T) {
	t.Parallel()
	door := newHall()
	c := config(door)
	used := time.Duration(0)
	c.CPU = func() (time.Duration, error) { used += 3 * time.Second; return used, nil }
	var seen []Progress
	c.Progress = func(p Progress) { seen = append(seen, p) }
	report, err := Run(t.Context(), c)
	require.NoError(t, err)
	require.True(t, door.closed)
	require.False(t, report.Interrupted)
	require.Empty(t, report.Problems)
	require.InDelta(t, 1, report.Seconds, 0.5)
	p := report.Packets
	require.NotZero(t, p.Published)
	require.Equal(t, p.Expected, 2*p.Published, "each publisher has two listeners")
	require.Equal(t, p.Expected, p.Forwarded)
	require.Zero(t, p.Lost+p.Duplicates)
	require.InDelta(t, 1, p.Delivered, 0)
	require.Equal(t, [2]int{4, 4}, [2]int{report.Joins.Wanted, report.Joins.Succeeded}, "all but the first of each visit")
	require.Less(t, report.Latency.P50, 50.0)
	require.GreaterOrEqual(t, report.Latency.Max, report.Latency.P99)
	require.Less(t, report.Reading.P50, 5.0)
	require.InDelta(t, 3e6/float64(p.Forwarded), report.CPU.MicrosecondsPerPacket, 1e-6)
	require.NotEmpty(t, seen)
	last := seen[len(seen)-1]
	require.Equal(t, [4]int{6, 0, 0, 16}, [4]int{last.Joined, last.Joining, last.Failed, last.Streams})
	none := 0.0
	require.Empty(t, Gates{MaxLoss: &none, MinDelivered: 1}.Missed(report))
}

func TestAGeneratorThatReadsLateSaysSo(t *testing.T) {
	t.Parallel()
	door := newHall()
	door.unread = 5 * time.Millisecond
	report, err := Run(t.Context(), config(door))
	require.NoError(t, err)
	require.Greater(t, report.Reading.P50, 4.9)
	require.Less(t, report.Latency.P50, 4.9, "it is no latency of the server")
}

func TestARunFindsLoss(t *testing.T) {
	t.Parallel()
	door := newHall()
	door.lose = func(n int) bool { return n > 20 && n%10 == 0 }
	report, err := Run(t.Context(), config(door))
	require.NoError(t, err)
	require.InDelta(t, 0.1, report.Packets.Loss, 0.03)
	require.InDelta(t, 0.9, report.Packets.Delivered, 0.03)
	most := 0.05
	require.Len(t, Gates{MaxLoss: &most, MinDelivered: 0.95}.Missed(report), 2)
}

func TestWhatAServerSelectsIsAllThatIsExpected(t *testing.T) {
	t.Parallel()
	door := newHall()
	door.passes = func(number int, to *Guest) bool { return number == 1 || to.Number == 1 && number == 2 }
	c := config(door)
	c.Visits, c.Publishers, c.Subscribers, c.Voices, c.Videos = 1, 4, 3, 1, 1
	report, err := Run(t.Context(), c)
	require.NoError(t, err)
	require.InDelta(t, 1, report.Packets.Delivered, 0.01)
	require.InDelta(t, report.Packets.Expected, report.Packets.Forwarded, 0.05*float64(report.Packets.Forwarded))
	require.Zero(t, report.Packets.Lost)
	require.Equal(t, report.Joins.Wanted, report.Joins.Succeeded)
}

func TestTheFloorPasses(t *testing.T) {
	c := Config{Publishers: 5, Speakers: 2, Turn: time.Second}
	speaking := func(at time.Duration) (numbers []int) {
		for number := 1; number <= c.Publishers; number++ {
			if c.speaks(number)(at) {
				numbers = append(numbers, number)
			}
		}
		return numbers
	}
	require.Equal(t, []int{1, 2}, speaking(0))
	require.Equal(t, []int{2, 3}, speaking(1500*time.Millisecond))
	require.Equal(t, []int{1, 5}, speaking(4*time.Second))
	require.Equal(t, []int{1, 2}, speaking(5*time.Second))
	require.Nil(t, Config{Publishers: 5}.speaks(1), "all speak")
}

func TestWhoDoesNotGetInIsReported(t *testing.T) {
	t.Parallel()
	door := newHall()
	door.refuse = map[int]error{3: errors.New("no room")}
	report, err := Run(t.Context(), config(door))
	require.NoError(t, err)
	require.Equal(t, []Problem{{Text: "no room", Count: 2}}, report.Problems)
	require.Equal(t, [2]int{4, 2}, [2]int{report.Joins.Wanted, report.Joins.Succeeded})
	require.Equal(t, []string{"2 of 4 joins failed"}, Gates{}.Missed(report))
}

func TestWhoHasNobodyToReceiveFailsToo(t *testing.T) {
	t.Parallel()
	door := newHall()
	door.refuse = map[int]error{1: errors.New("no room")}
	c := config(door)
	c.Visits, c.Publishers, c.Subscribers = 1, 1, 0
	report, err := Run(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, []string{"1 of 1 joins failed"}, Gates{}.Missed(report))
}

func TestAnInterruptedRunReportsWhatItHas(t *testing.T) {
	t.Parallel()
	door := newHall()
	c := config(door)
	c.Duration = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.Progress = func(p Progress) {
		if p.Forwarded > 0 {
			cancel()
		}
	}
	report, err := Run(ctx, c)
	require.NoError(t, err)
	require.True(t, report.Interrupted)
	require.NotZero(t, report.Packets.Forwarded)

	ramping, stop := context.WithCancel(t.Context())
	defer stop()
	door = newHall()
	door.attend = func(*Guest) { stop() }
	c.Door, c.Ramp, c.Progress = door, time.Hour, nil
	report, err = Run(ramping, c)
	require.NoError(t, err)
	require.Equal(t, []string{"nothing was measured", "4 of 4 joins failed"}, Gates{}.Missed(report))
}

func TestConfigsThatAreNotAllowed(t *testing.T) {
	for says, change := range map[string]func(*Config){
		"visits 0: must be 1 to 10000":               func(c *Config) { c.Visits = 0 },
		"publishers -1: must be 0":                   func(c *Config) { c.Publishers = -1 },
		"subscribers together 0: must be 1 to 2000":  func(c *Config) { c.Publishers, c.Subscribers = 0, 0 },
		"duration 1ms: must be 1s to 24h0m0s":        func(c *Config) { c.Duration = time.Millisecond },
		"ramp -1s: must be 0s":                       func(c *Config) { c.Ramp = -time.Second },
		"join timeout 0s: must be 1s":                func(c *Config) { c.JoinTimeout = 0 },
		"publishers need one of them":                func(c *Config) { c.Format = synthetic.Format{FrameRate: 30} },
		"frame rate 100: must be 1 to 60":            func(c *Config) { c.Format.FrameRate = 100 },
		"video bitrate 1000: must be 50000 to 50000": func(c *Config) { c.Format.VideoBitrate = 1000 },
	} {
		c := config(nil)
		change(&c)
		_, err := Run(t.Context(), c)
		require.ErrorContains(t, err, says)
	}
}

func TestStreamsCountLossThroughRepeatsDisorderAndFillers(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		const ours, filler = true, false
		begin := rapid.Uint16().Draw(r, "begin")
		count := rapid.IntRange(2, 3000).Draw(r, "count")
		random := rapid.Uint64().Draw(r, "seed")
		chance := func(oneIn uint64) bool {
			random = random*6364136223846793005 + 1442695040888963407
			return random>>33%oneIn == 0
		}
		type packet struct {
			sequence uint16
			kind     bool
		}
		var sent []packet
		lost := int64(0)
		for n := range count {
			p := packet{begin + uint16(n), n == 0 || n == count-1 || !chance(20)}
			if p.kind == ours && n > 0 && n < count-1 && chance(10) {
				lost++
				continue
			}
			sent = append(sent, p)
			if chance(15) {
				sent = append(sent, p)
			}
		}
		// Fillers stay in place: they are counted between two of ours.
		for n := 2; n < len(sent)-2; n++ {
			if chance(8) && sent[n].kind == ours && sent[n+1].kind == ours {
				sent[n], sent[n+1] = sent[n+1], sent[n]
			}
		}
		var window synthetic.Window
		window.Open(0)
		s := &stream{}
		repeated := int64(0)
		seen := map[uint16]bool{}
		for _, p := range sent {
			if seen[p.sequence] {
				repeated++
			}
			seen[p.sequence] = true
			switch fresh := s.fresh(p.sequence); {
			case !fresh:
			case p.kind == filler:
				s.pend(int(p.sequence % 2))
			default:
				s.count(10)
			}
		}
		require.Equal(r, lost, s.lost())
		require.Equal(r, repeated, s.duplicates)
	})
}

func TestAPayloadIsWhatIsNeitherHeaderNorPadding(t *testing.T) {
	full := rtp.Packet{Header: rtp.Header{Version: 2, CSRC: []uint32{1, 2}}, Payload: make([]byte, 33)}
	require.NoError(t, full.SetExtension(1, []byte{1, 2, 3}))
	text, err := full.Marshal()
	require.NoError(t, err)
	padding, err := (&rtp.Packet{Header: rtp.Header{Version: 2, Padding: true, PaddingSize: 9}}).Marshal()
	require.NoError(t, err)
	for _, test := range []struct {
		packet []byte
		size   int
		ok     bool
	}{
		{text, 33, true},
		{padding, 0, true},
		{padding[:12], 0, true},
		{text[:20], 0, false},
		{text[:24], 0, false},
		{text[:5], 0, false},
		{append([]byte{0x60}, text[1:]...), 0, false},
	} {
		size, ok := payloadSize(test.packet)
		require.Equal(t, test.ok, ok)
		if ok {
			require.Equal(t, test.size, size)
		}
	}
}

func TestASequenceMayJump(t *testing.T) {
	s := &stream{}
	for _, step := range []struct {
		sequence uint16
		fresh    bool
	}{
		{65_535, true},
		{0, true},
		{65_535, false},
		{65_534, true},
		{5_000, true},
		{4_999, true},
		{5_000, false},
		{3_000, false},
		{5_001, true},
	} {
		require.Equal(t, step.fresh, s.fresh(step.sequence), step.sequence)
	}
}

func TestQuantilesAreExactToTheirBucket(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var h histogram
		values := rapid.SliceOfN(rapid.Int64Range(0, int64(time.Hour)), 1, 200).Draw(r, "values")
		for _, v := range values {
			h.add(time.Duration(v))
		}
		slices.Sort(values)
		for _, share := range []float64{0, 0.5, 0.95, 1} {
			exact := time.Duration(values[min(int(share*float64(len(values))), len(values)-1)])
			got := h.quantile(share)
			require.GreaterOrEqual(r, got, exact.Truncate(time.Microsecond))
			require.LessOrEqual(r, float64(got), float64(exact)*1.016+float64(time.Microsecond))
		}
	})
	require.Zero(t, (&histogram{}).quantile(1))
	require.Equal(t, Times{2, 3, 3, 3}, quantiles([]time.Duration{3 * time.Millisecond, time.Millisecond, 2 * time.Millisecond}))
	require.Equal(t, Times{}, quantiles(nil))
}

func TestGates(t *testing.T) {
	good := Report{
		Seconds: 10, Joins: Joins{Wanted: 3, Succeeded: 3, Times: Times{P95: 300}}, Latency: Times{P50: 2, P99: 20},
		Packets: Packets{Loss: 0.01, Delivered: 0.99}, CPU: &CPU{MicrosecondsPerPacket: 8},
	}
	two, half := 0.02, 0.005
	for name, test := range map[string]struct {
		gates Gates
		want  []string
	}{
		"none": {Gates{}, nil},
		"kept": {Gates{MaxLoss: &two, MinDelivered: 0.98, MaxLatencyP99: time.Second, MaxJoinP95: time.Second, MaxCPU: 9}, nil},
		"missed": {
			Gates{
				MaxLoss: &half, MinDelivered: 1, MaxLatencyP50: time.Millisecond, MaxLatencyP99: 10 * time.Millisecond,
				MaxJoinP95: time.Millisecond, MaxCPU: 7,
			},
			[]string{
				"loss 1.000 %, at most 0.5 %", "delivered 99.00 %, at least 100 %", "latency p50 2.00 ms, at most 1ms",
				"latency p99 20.00 ms, at most 10ms", "join p95 300.00 ms, at most 1ms", "cpu 8.00 us a packet, at most 7",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, test.gates.Validate())
			require.Equal(t, test.want, test.gates.Missed(good))
		})
	}
	good.CPU = nil
	require.Equal(t, []string{"the server's processor time is not known"}, Gates{MaxCPU: 1}.Missed(good))
	wrong := 2.0
	for says, gates := range map[string]Gates{
		"max loss 200 %": {MaxLoss: &wrong}, "min delivered 200 %": {MinDelivered: 2},
		"-1s must not be": {MaxJoinP95: -time.Second}, "max cpu -1": {MaxCPU: -1},
	} {
		require.ErrorContains(t, gates.Validate(), says)
	}
}
