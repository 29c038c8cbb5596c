package load

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/wardline/wardline/edge/load/synthetic"
)

// Report is what was measured. Its JSON is the contract with programs: members are only ever added. Times are in
// milliseconds.
type Report struct {
	Begin time.Time `json:"begin"`
	// Seconds is how long was measured, 0 if it never came to that.
	Seconds float64 `json:"seconds"`
	// Interrupted says that the run was ended early.
	Interrupted bool `json:"interrupted"`

	Load    Load    `json:"load"`
	Joins   Joins   `json:"joins"`
	Latency Times   `json:"latency_ms"`
	Packets Packets `json:"packets"`
	CPU     *CPU    `json:"cpu,omitempty"`
	// LateMs is how late the generator sent at worst: more than a few milliseconds are in the latencies, and due to a
	// generator that has too little of its machine.
	LateMs float64 `json:"generator_late_ms"`
	// Reading is how long packets that had come waited for the generator: it is in no latency where the system tells when they
	// came, as Linux does for what takes UDP and no relay.
	Reading Times `json:"generator_reading_ms"`
	// Problems are why participants did not get in or were thrown out, most frequent first.
	Problems []Problem `json:"problems"`
}

// Load is what was asked for.
type Load struct {
	Visits       int `json:"visits"`
	Publishers   int `json:"publishers"`
	Subscribers  int `json:"subscribers"`
	VideoBitrate int `json:"video_bitrate"`
	AudioBitrate int `json:"audio_bitrate"`
	FrameRate    int `json:"frame_rate"`
	// Speakers, Voices and Videos are 0 for all.
	Speakers int `json:"speakers,omitempty"`
	Voices   int `json:"voices,omitempty"`
	Videos   int `json:"videos,omitempty"`
}

// Times are quantiles of durations.
type Times struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// Joins tells how participants got in. A join lasts from its beginning until the first packet of somebody else; whoever
// got in and had nobody to receive is in none of these figures.
type Joins struct {
	Wanted    int   `json:"wanted"`
	Succeeded int   `json:"succeeded"`
	Times     Times `json:"ms"`
}

// Packets counts the packets that were sent while it was measured.
type Packets struct {
	// Published were sent by publishers, Expected is how many of them receivers should have got, Forwarded how many packets of
	// media reached one.
	Published int64 `json:"published"`
	Expected  int64 `json:"expected"`
	Forwarded int64 `json:"forwarded"`
	// Lost is what is missing in the sequence numbers of what was received; Loss is its share.
	Lost int64   `json:"lost"`
	Loss float64 `json:"loss"`
	// Delivered is the share of the media, in bytes, that came to those who should have got it; less than 1 too where the server
	// chooses what a participant receives.
	Delivered float64 `json:"delivered"`
	// Duplicates came more than once.
	Duplicates int64 `json:"duplicates"`
	// PerSecond is how many were forwarded in a second.
	PerSecond float64 `json:"per_second"`
}

// CPU is what the server used of its processors.
type CPU struct {
	Seconds float64 `json:"seconds"`
	// MicrosecondsPerPacket is user and system time for each forwarded packet.
	MicrosecondsPerPacket float64 `json:"us_per_packet"`
	Error                 string  `json:"error,omitempty"`
}

// Problem is why some participants failed.
type Problem struct {
	Text  string `json:"text"`
	Count int    `json:"count"`
}

// problem adds one.
func (r *Report) problem(err error) {
	text := err.Error()
	at := slices.IndexFunc(r.Problems, func(p Problem) bool { return p.Text == text })
	if at < 0 {
		r.Problems = append(r.Problems, Problem{Text: text, Count: 1})
		return
	}
	r.Problems[at].Count++
}

// Progress is how far a run is.
type Progress struct {
	// Elapsed is the time since the run began, Measured for how long it has been measured.
	Elapsed  time.Duration `json:"elapsed_ns"`
	Measured time.Duration `json:"measured_ns"`
	// Joining, Joined and Failed are participants.
	Joining int `json:"joining"`
	Joined  int `json:"joined"`
	Failed  int `json:"failed"`
	// Streams are tracks that are received.
	Streams int `json:"streams"`
	// Forwarded are packets received since measuring began, P99 is their latency.
	Forwarded int64         `json:"forwarded"`
	P99       time.Duration `json:"p99_ns"`
}

func (r *run) progress(now time.Time) Progress {
	p := Progress{Elapsed: now.Sub(r.begun), Forwarded: r.latency.total.Load(), P99: r.latency.quantile(0.99)}
	if !r.opened.IsZero() {
		p.Measured = now.Sub(r.opened)
	}
	for _, guest := range r.guests {
		streams, ended := guest.receives()
		p.Streams += streams
		switch {
		case ended:
			p.Failed++
		case streams > 0 || r.wanted(guest) == 0:
			p.Joined++
		default:
			p.Joining++
		}
	}
	return p
}

// report sums up; nothing runs any more.
func (r *run) report() Report {
	report := Report{
		Begin: r.begun.UTC(), Problems: []Problem{},
		Load: Load{
			r.Visits, r.Publishers, r.Subscribers, r.Format.VideoBitrate, r.Format.AudioBitrate, r.Format.FrameRate,
			r.Speakers, r.Voices, r.Videos,
		},
		Latency: r.latency.times(), Reading: r.reading.times(),
	}
	var joins []time.Duration
	var expected, came int64 // bytes
	for _, guest := range r.guests {
		if guest.err != nil {
			report.problem(guest.err)
		}
		tracks := r.others(guest)
		r.addPackets(&report.Packets, guest, len(tracks) > 0)
		for kind, limit := range map[webrtc.RTPCodecType]int{
			webrtc.RTPCodecTypeAudio: r.Voices, webrtc.RTPCodecTypeVideo: r.Videos,
		} {
			packets, bytes := expectedOf(tracks, kind, limit)
			report.Packets.Expected += packets
			expected += bytes
		}
		for _, s := range guest.streams {
			came += s.bytes
		}
		if guest.Source != nil {
			report.LateMs = max(report.LateMs, milliseconds(guest.Source.Late()))
		}
		// The first to publish in a visit waits for somebody else to come, unless it did not get in.
		alone := len(tracks) == 0 || guest.Number == 1
		if alone && (guest.err == nil || !guest.first.IsZero()) {
			continue
		}
		report.Joins.Wanted++
		if !guest.first.IsZero() {
			joins = append(joins, guest.first.Sub(guest.begun))
		}
	}
	report.Joins.Succeeded, report.Joins.Times = len(joins), quantiles(joins)
	slices.SortStableFunc(report.Problems, func(a, b Problem) int { return cmp.Compare(b.Count, a.Count) })
	if expected > 0 {
		report.Packets.Delivered = float64(came) / float64(expected)
	}
	r.rates(&report)
	return report
}

// expectedOf is what should have been received of the tracks of a kind, where at most limit of them are, 0 for all: which ones
// is the server's choice, and they are all alike.
func expectedOf(tracks []*synthetic.Track, kind webrtc.RTPCodecType, limit int) (packets, bytes int64) {
	count := 0
	for _, track := range tracks {
		if track.Kind() == kind {
			p, b := track.Counted()
			packets, bytes, count = packets+p, bytes+b, count+1
		}
	}
	if share := atMost(limit, count); share < count {
		packets, bytes = packets*int64(share)/int64(count), bytes*int64(share)/int64(count)
	}
	return packets, bytes
}

// addPackets adds what a guest sent and received.
func (r *run) addPackets(p *Packets, guest *Guest, receives bool) {
	if guest.Source != nil {
		for _, track := range guest.Source.Tracks() {
			packets, _ := track.Counted()
			p.Published += packets
		}
	}
	if !receives {
		return
	}
	for _, ssrc := range slices.Sorted(maps.Keys(guest.streams)) {
		s := guest.streams[ssrc]
		p.Forwarded += s.received
		p.Lost += s.lost()
		p.Duplicates += s.duplicates
	}
}

// rates makes shares of counts.
func (r *run) rates(report *Report) {
	p := &report.Packets
	if p.Forwarded+p.Lost > 0 {
		p.Loss = float64(p.Lost) / float64(p.Forwarded+p.Lost)
	}
	if r.opened.IsZero() {
		return
	}
	report.Seconds = r.closed.Sub(r.opened).Seconds()
	p.PerSecond = float64(p.Forwarded) / report.Seconds
	switch {
	case r.CPU == nil:
	case r.cpuErr != nil:
		report.CPU = &CPU{Error: r.cpuErr.Error()}
	default:
		report.CPU = &CPU{Seconds: r.cpu.Seconds()}
		if p.Forwarded > 0 {
			report.CPU.MicrosecondsPerPacket = float64(r.cpu.Microseconds()) / float64(p.Forwarded)
		}
	}
}

// quantiles are those of a few durations, exactly.
func quantiles(of []time.Duration) Times {
	if len(of) == 0 {
		return Times{}
	}
	slices.Sort(of)
	at := func(share float64) float64 { return milliseconds(of[min(int(share*float64(len(of))), len(of)-1)]) }
	return Times{at(0.5), at(0.95), at(0.99), at(1)}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
