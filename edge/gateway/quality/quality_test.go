package quality_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway/quality"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	key   = encounter.Key{Tenant: "clinic", ID: "visit-1"}
	start = time.Unix(1_700_000_000, 0).UTC()
)

// bench is a log with a clock the test moves.
type bench struct {
	*quality.Log
	registry *prometheus.Registry
	now      time.Time
}

func newBench() *bench {
	b := &bench{registry: prometheus.NewRegistry(), now: start}
	b.Log = quality.NewLog(b.registry, func() time.Time { return b.now })
	return b
}

func number(v float64) *float64 { return &v }

func report() signaling.Stats {
	return signaling.Stats{
		Route: signaling.Route{Leg: 1}, ICEState: "connected", Path: "relay-tcp", RTTMs: number(40),
		Send: []signaling.TrackStats{{Source: signaling.Camera, Codec: "video/VP8", Width: 640, Height: 360, FPS: number(30)}},
		Receive: []signaling.TrackStats{
			{Participant: "doc", Source: signaling.Microphone, Codec: "audio/opus", JitterMs: number(5), Loss: number(0.01)},
			{Participant: "doc", Source: signaling.Camera, Codec: "H264", FPS: number(24), Freezes: number(3)},
		},
	}
}

func TestTimelineHoldsWhatWasReported(t *testing.T) {
	b := newBench()
	b.Record(key, "pat", access.Patient, report(), b.now)
	b.Record(key, "doc", access.Provider, signaling.Stats{Route: signaling.Route{Leg: 2}, ICEState: "checking"}, b.now)
	timeline := b.Timeline(key)
	require.Len(t, timeline.Participants, 2)
	require.Equal(t, "doc", timeline.Participants[0].ID)
	patient := timeline.Participants[1]
	require.Equal(t, access.Patient, patient.Role)
	sample := patient.Samples[0]
	require.Equal(t, start, sample.At)
	require.InDelta(t, 40, *sample.RTTMs, 0)
	require.Equal(t, "vp8", sample.Send[0].Codec)
	require.InDelta(t, quality.MOS(40, 5, 0.01), *sample.MOS, 0.01)
	require.Empty(t, b.Timeline(encounter.Key{Tenant: "other", ID: "visit-1"}).Participants)

	data, err := json.Marshal(b.Timeline(encounter.Key{}))
	require.NoError(t, err)
	require.JSONEq(t, `{"participants":[]}`, string(data))
}

func TestGarbageIsClampedOrDropped(t *testing.T) {
	b := newBench()
	s := report()
	s.ICEState, s.Path, s.RTTMs = `"} evil`, "Herr Müller", number(math.NaN())
	s.Receive = []signaling.TrackStats{{
		Participant: "not an id!", Source: "x-ray", Codec: "nurse Joy", JitterMs: number(-1), Loss: number(7), FPS: number(math.Inf(1)),
		BitrateBps: number(1e300), Freezes: number(math.Inf(-1)), Width: -5, Height: 1 << 30,
	}}
	b.Record(key, "pat", "janitor", s, b.now)
	sample := b.Timeline(key).Participants[0].Samples[0]
	require.Equal(t, "other", sample.ICEState)
	require.Equal(t, "other", sample.Path)
	require.Nil(t, sample.RTTMs)
	require.Nil(t, sample.MOS)
	track := sample.Receive[0]
	require.Equal(t, quality.Track{
		Source: "other", Codec: "other", Loss: number(1), FPS: number(240), BitrateBps: number(1e9), Height: 16_384,
	}, track)
	_, err := json.Marshal(b.Timeline(key))
	require.NoError(t, err, "JSON knows no infinity")

	families, err := b.registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				require.Contains(t, []string{"other", ""}, label.GetValue(), family.GetName())
			}
		}
	}
}

func TestMetrics(t *testing.T) {
	b := newBench()
	for range 2 {
		b.Record(key, "pat", access.Patient, report(), b.now)
		b.now = b.now.Add(5 * time.Second)
	}
	s := report()
	s.ICEState, s.Receive[1].Freezes = "failed", number(5)
	b.Record(key, "pat", access.Patient, s, b.now)
	s.Receive[1].Freezes = number(1)
	b.Record(key, "pat", access.Patient, s, b.now)
	require.NoError(t, testutil.GatherAndCompare(b.registry, strings.NewReader(`
# HELP wardline_client_freezes_total Freezes of received video tracks.
# TYPE wardline_client_freezes_total counter
wardline_client_freezes_total{role="patient",source="camera"} 6
# HELP wardline_client_ice_state_changes_total Changes of clients' ICE connection state, by the new state.
# TYPE wardline_client_ice_state_changes_total counter
wardline_client_ice_state_changes_total{role="patient",state="connected"} 1
wardline_client_ice_state_changes_total{role="patient",state="failed"} 1
# HELP wardline_client_path_reports_total Reports by the path media takes.
# TYPE wardline_client_path_reports_total counter
wardline_client_path_reports_total{path="relay-tcp",role="patient"} 4
# HELP wardline_client_codec_reports_total Received tracks in reports by their codec.
# TYPE wardline_client_codec_reports_total counter
wardline_client_codec_reports_total{codec="h264",source="camera"} 4
wardline_client_codec_reports_total{codec="opus",source="microphone"} 4
`), "wardline_client_freezes_total", "wardline_client_ice_state_changes_total",
		"wardline_client_path_reports_total", "wardline_client_codec_reports_total"))
	for _, name := range []string{"rtt_seconds", "jitter_seconds", "loss_ratio", "frames_per_second", "mos"} {
		count, err := testutil.GatherAndCount(b.registry, "wardline_client_"+name)
		require.NoError(t, err)
		require.Equal(t, 1, count, name)
	}
	problems, err := testutil.GatherAndLint(b.registry)
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestLogsOfOneProcessCountTogether(t *testing.T) {
	b := newBench()
	second := quality.NewLog(b.registry, func() time.Time { return b.now })
	b.Record(key, "pat", access.Patient, report(), b.now)
	second.Record(key, "doc", access.Patient, report(), b.now)
	require.NoError(t, testutil.GatherAndCompare(b.registry, strings.NewReader(`
# HELP wardline_client_path_reports_total Reports by the path media takes.
# TYPE wardline_client_path_reports_total counter
wardline_client_path_reports_total{path="relay-tcp",role="patient"} 2
`), "wardline_client_path_reports_total"))
}

func TestOneParticipantsHistoryIsBounded(t *testing.T) {
	b := newBench()
	for i := range quality.MaxSamples + 10 {
		b.now = start.Add(time.Duration(i) * 5 * time.Second)
		b.Record(key, "pat", access.Patient, report(), b.now)
		b.Record(key, "pat", access.Patient, report(), b.now.Add(time.Millisecond))
	}
	samples := b.Timeline(key).Participants[0].Samples
	require.Len(t, samples, quality.MaxSamples)
	for i, sample := range samples {
		require.Equal(t, start.Add(time.Duration(i+10)*5*time.Second), sample.At, "oldest first, floods left out")
	}
}

func TestAnotherLegsReportAtTheSameTimeIsKept(t *testing.T) {
	b := newBench()
	s := report()
	b.Record(key, "pat", access.Patient, s, b.now)
	s.Leg = 2
	b.Record(key, "pat", access.Patient, s, b.now)
	require.Len(t, b.Timeline(key).Participants[0].Samples, 2)
}

func TestEncountersAndParticipantsAreBounded(t *testing.T) {
	b := newBench()
	for i := range quality.MaxParticipants + 5 {
		b.Record(key, fmt.Sprintf("p-%d", i), access.Family, report(), b.now)
	}
	require.Len(t, b.Timeline(key).Participants, quality.MaxParticipants)

	for i := range quality.MaxEncounters {
		b.now = b.now.Add(time.Millisecond)
		b.Record(encounter.Key{Tenant: "clinic", ID: fmt.Sprintf("v-%d", i)}, "pat", access.Patient, report(), b.now)
	}
	require.Empty(t, b.Timeline(key).Participants, "silent longest")
	require.Len(t, b.Timeline(encounter.Key{Tenant: "clinic", ID: "v-1"}).Participants, 1)

	b.now = b.now.Add(quality.MaxAge + time.Second)
	require.Empty(t, b.Timeline(encounter.Key{Tenant: "clinic", ID: "v-1"}).Participants, "too old")
	b.Record(key, "pat", access.Patient, report(), b.now)
	require.Len(t, b.Timeline(key).Participants, 1)
}

func TestWhatIsKeptOfAllEncountersIsBounded(t *testing.T) {
	b := newBench()
	const each = 4 // a report: one sample, three tracks
	b.Limit(10 * each)
	visit := func(i int) encounter.Key { return encounter.Key{Tenant: "clinic", ID: fmt.Sprintf("v-%d", i)} }
	for i := range 5 {
		for range 4 {
			b.now = b.now.Add(5 * time.Second)
			b.Record(visit(i), "pat", access.Patient, report(), b.now)
			require.LessOrEqual(t, b.Kept(), 10*each)
		}
	}
	require.Empty(t, b.Timeline(visit(2)).Participants, "silent longest")
	require.Len(t, b.Timeline(visit(3)).Participants[0].Samples, 4)
	require.Len(t, b.Timeline(visit(4)).Participants[0].Samples, 4)

	b.now = b.now.Add(quality.MaxAge + time.Second)
	b.Record(key, "pat", access.Patient, report(), b.now)
	require.Equal(t, each, b.Kept(), "what is too old to be read takes no room either")
	for range 2 * quality.MaxSamples {
		b.now = b.now.Add(5 * time.Second)
		b.Record(key, "pat", access.Patient, signaling.Stats{Route: signaling.Route{Leg: 1}}, b.now)
		require.LessOrEqual(t, b.Kept(), 10*each)
	}
}

func TestMOSFollowsWhatEarsWouldSay(t *testing.T) {
	require.InDelta(t, 4.4, quality.MOS(20, 2, 0), 0.05, "a good line")
	require.InDelta(t, 3.1, quality.MOS(100, 10, 0.05), 0.3, "5 % loss annoys")
	require.InDelta(t, 1, quality.MOS(3000, 500, 1), 0.01, "nothing arrives")
	last := math.Inf(1)
	for loss := 0.0; loss <= 1; loss += 0.01 {
		score := quality.MOS(80, 5, loss)
		require.LessOrEqual(t, score, last)
		require.GreaterOrEqual(t, score, 1.0)
		last = score
	}
}
