package sfu

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/wardline/wardline/edge/sfu/reception"
	"github.com/wardline/wardline/edge/udp"
)

const (
	// receiveMTU bounds a packet; media is sent in smaller ones.
	receiveMTU = 1500
	// numbersEvery and reportEvery are how often a publisher hears when its packets arrived, and how well.
	numbersEvery, reportEvery = 100 * time.Millisecond, time.Second
	// maxIncoming is how many RTP streams a client can send: every layer and its repairs.
	maxIncoming = 2 * maxTracks * maxLayers
	// maxHeld is how many packets wait for the layers of new streams.
	maxHeld = 256
)

// incoming sorts what a client sends into layers and tells the client how it arrives. Its transport hands it one packet at a
// time; everything else that uses it does so by transport.exclusive.
type incoming struct {
	begin   func(*stream) // told of a new stream, which began has to be called for
	way     way           // to the client
	started time.Time     // times count from here

	sections []*receiving
	streams  map[uint32]*stream
	media    []*stream // those of them that are no repairs
	held     []heldPacket

	clock    clock
	ssrc     uint32 // that feedback comes from
	numbers  *twcc.Recorder
	numbered time.Duration // when the client last heard of numbers
	reported time.Duration // and got a report

	header rtp.Header // of the packet being received, kept for its room
	pairs  []rtcp.NackPair
	came   []*layer // those that packets came for
}

// receiving is a media section that the client sends in.
type receiving struct {
	section
	dialect dialect
}

// stream is one SSRC.
type stream struct {
	ssrc    uint32
	section *receiving
	rid     string
	repairs *stream // what it is the retransmissions of; nil for media

	begun      bool          // its layer is there, or it is known that there will be none
	layer      *layer        // nil if it is not forwarded
	replaced   bool          // another one is in its place
	heard      time.Duration // since then
	statistics reception.Statistics
	missing    reception.Missing
}

// heldPacket is a packet of a stream that has not begun.
type heldPacket struct {
	stream *stream
	raw    []byte
}

func newIncoming(started time.Time, begin func(*stream)) *incoming {
	ssrc := rand.Uint32() | 1 //nolint:gosec // no secret
	return &incoming{
		begin: begin, started: started, streams: make(map[uint32]*stream), ssrc: ssrc, numbers: twcc.NewRecorder(ssrc),
		// Zero would be taken for a report that was just given.
		numbered: -numbersEvery, reported: -reportEvery,
	}
}

// describe takes over what was agreed on, and returns the layers of sections in which the client sends no more.
func (in *incoming) describe(sections []section, pc *webrtc.PeerConnection) (ended []*layer) {
	dialects := make(map[string]dialect)
	for _, transceiver := range pc.GetTransceivers() {
		dialects[transceiver.Mid()] = newDialect(transceiver.Receiver().GetParameters())
	}
	before := in.sections
	in.sections = nil
	for _, each := range sections {
		known, ok := dialects[each.mid]
		if !ok || !each.sends {
			continue
		}
		in.sections = append(in.sections, &receiving{section: each, dialect: known})
	}
	for _, old := range before {
		i := slices.IndexFunc(in.sections, func(each *receiving) bool { return each.mid == old.mid })
		if i >= 0 {
			*old, in.sections[i] = *in.sections[i], old // streams point to it
			continue
		}
		ended = append(ended, in.forget(func(s *stream) bool { return s.section == old })...)
	}
	in.again()
	return ended
}

// again begins the streams that were not to be forwarded once more: they may be allowed now.
func (in *incoming) again() {
	for _, s := range in.media {
		if s.begun && s.layer == nil {
			s.begun = false
			in.begin(s)
		}
	}
}

// forget drops streams with their repairs, and returns the layers they had.
func (in *incoming) forget(which func(*stream) bool) (layers []*layer) {
	for ssrc, s := range in.streams {
		if which(s) || s.repairs != nil && which(s.repairs) {
			delete(in.streams, ssrc)
			if s.layer != nil {
				layers = append(layers, s.layer)
			}
		}
	}
	in.media = slices.DeleteFunc(in.media, which)
	return layers
}

// receiveRTP implements handler.
func (in *incoming) receiveRTP(raw []byte, out *udp.Batch) {
	now := time.Since(in.started)
	in.header = rtp.Header{CSRC: in.header.CSRC[:0], Extensions: in.header.Extensions[:0]}
	size, err := in.header.Unmarshal(raw)
	if err != nil || len(raw) > receiveMTU {
		return
	}
	s := in.streams[in.header.SSRC]
	if s == nil {
		if s = in.discover(now); s == nil {
			return
		}
	}
	in.number(s, now)
	in.captured(s)
	sequence := in.header.SequenceNumber
	if of := s.repairs; of != nil {
		if raw, sequence = unwrap(raw, size, of.ssrc, s.section.dialect.repaired[in.header.PayloadType]); raw == nil {
			return
		}
		s = of
	} else {
		s.statistics.Received(sequence, in.header.Timestamp, now)
	}
	if s.replaced {
		s.heard = now
		return
	}
	if s.section.dialect.asks {
		if s.missing.Received(sequence, now) && s.layer != nil {
			s.layer.broken(in.started.Add(now))
		}
		if in.header.Marker && s.section.kind == webrtc.RTPCodecTypeVideo { // of a voice it is a beginning (RFC 3551, section 4.1)
			s.missing.Ended(sequence)
		}
	}
	in.take(s, raw, out)
}

// handled implements handler.
func (in *incoming) handled(out *udp.Batch) {
	for _, l := range in.came {
		l.forward(out)
	}
	clear(in.came)
	in.came = in.came[:0]
	in.tell(time.Since(in.started), out)
}

// take hands a packet to the layer of its stream, or keeps it until there is one.
func (in *incoming) take(s *stream, raw []byte, out *udp.Batch) {
	switch {
	case s.layer != nil:
		first, starts := s.layer.receive(raw, out)
		if first {
			in.came = append(in.came, s.layer)
		}
		if starts {
			s.missing.Started(binary.BigEndian.Uint16(raw[2:]))
		}
	case !s.begun && len(in.held) < maxHeld:
		in.held = append(in.held, heldPacket{s, bytes.Clone(raw)})
	}
}

// number takes note of the transport-wide number of a packet.
func (in *incoming) number(s *stream, now time.Duration) {
	if id := s.section.dialect.transport; id != 0 {
		if value := in.header.GetExtension(id); len(value) == 2 {
			in.numbers.Record(in.header.SSRC, binary.BigEndian.Uint16(value), now.Microseconds())
		}
	}
}

// captured puts the time of capture that a packet tells on the clock of the reports that go on with it: where nothing is said of another
// one it is the sender's (abs-capture-time, estimated capture clock offset).
func (in *incoming) captured(s *stream) {
	const size = 8
	if id := s.section.dialect.captureTime; id != 0 {
		if value := in.header.GetExtension(id); len(value) >= size {
			binary.BigEndian.PutUint64(value, in.clock.here(binary.BigEndian.Uint64(value), time.Now()))
		}
	}
}

// unwrap makes of a retransmission what it repairs (RFC 4588, section 4); nil for one that is only padding.
func unwrap(raw []byte, headerSize int, ssrc uint32, payloadType uint8) (repaired []byte, sequence uint16) {
	const number = 2 // bytes of the original sequence number
	end := len(raw)
	if raw[0]&paddingBit != 0 {
		end -= int(raw[end-1])
	}
	if end < headerSize+number || payloadType == 0 {
		return nil, 0
	}
	sequence = binary.BigEndian.Uint16(raw[headerSize:])
	copy(raw[number:], raw[:headerSize])
	raw = raw[number:]
	raw[1] = raw[1]&markerBit | payloadType
	binary.BigEndian.PutUint16(raw[2:], sequence)
	binary.BigEndian.PutUint32(raw[8:], ssrc)
	return raw, sequence
}

// discover finds out what a stream is whose first packet has come: by what its header or the description says, or by its
// payload type (RFC 8843, section 9.2). Nil if that is not known, yet.
func (in *incoming) discover(now time.Duration) *stream {
	section := in.sectionOf()
	if section == nil || len(in.streams) >= maxIncoming {
		return nil
	}
	s := &stream{ssrc: in.header.SSRC, section: section, rid: string(in.header.GetExtension(section.dialect.rid))}
	if _, repairs := section.dialect.repaired[in.header.PayloadType]; repairs {
		if s.repairs = in.repairedBy(section); s.repairs == nil {
			return nil
		}
		in.streams[s.ssrc] = s
		return s
	}
	if _, known := section.dialect.formats[in.header.PayloadType]; !known || s.rid == "" && section.layered {
		return nil
	}
	s.statistics.ClockRate = clockRateOf(section.kind)
	in.replace(s, now)
	in.streams[s.ssrc] = s
	in.media = append(in.media, s)
	in.begin(s)
	return s
}

func (in *incoming) sectionOf() *receiving {
	for _, each := range in.sections {
		if mid := in.header.GetExtension(each.dialect.mid); len(mid) > 0 && string(mid) == each.mid {
			return each
		}
	}
	for _, each := range in.sections {
		if _, repairs := each.repairs[in.header.SSRC]; repairs || slices.Contains(each.ssrcs, in.header.SSRC) {
			return each
		}
	}
	var found *receiving
	for _, each := range in.sections {
		if _, known := each.dialect.formats[in.header.PayloadType]; !known {
			continue
		}
		if found != nil {
			return nil
		}
		found = each
	}
	return found
}

// lateFor is how long packets may be on their way.
const lateFor = 2 * time.Second

// replace puts a stream in the place of another one that has the same: the client has a new encoder. What still comes of the old one
// is no news, and no stream that takes the place in turn.
func (in *incoming) replace(by *stream, now time.Duration) {
	in.media = slices.DeleteFunc(in.media, func(s *stream) bool {
		if s.section != by.section || s.rid != by.rid {
			return false
		}
		s.replaced, s.heard, s.begun, s.layer = true, now, true, nil
		return true
	})
}

// repairedBy is the stream that the current packet's one repairs.
func (in *incoming) repairedBy(section *receiving) *stream {
	rid := string(in.header.GetExtension(section.dialect.repairedRID))
	for _, s := range in.media {
		if s.section != section {
			continue
		}
		if of, known := section.repairs[in.header.SSRC]; known && of == s.ssrc || !known && s.rid == rid {
			return s
		}
	}
	return nil
}

// began gives a stream its layer, nil if it is not forwarded, and the packets that have come.
func (in *incoming) began(s *stream, l *layer, out *udp.Batch) {
	s.begun = true
	if !s.replaced {
		s.layer = l
	}
	held := in.held
	in.held = nil
	for _, each := range held {
		in.take(each.stream, each.raw, out)
	}
	in.handled(out)
}

// receiveRTCP implements handler: sender reports are all that is heeded.
func (in *incoming) receiveRTCP(raw []byte, out *udp.Batch) {
	for each := range controlPackets(raw) {
		var report rtcp.SenderReport
		if report.Unmarshal(each) != nil {
			continue
		}
		if s := in.streams[report.SSRC]; s != nil && s.repairs == nil {
			s.statistics.Reported(report.NTPTime, time.Since(in.started))
			if s.layer != nil {
				s.layer.reported(out, &senderReport{ntp: in.clock.here(report.NTPTime, time.Now()), rtp: report.RTPTime})
			}
		}
	}
}

// tell sends what is due: requests for lost packets, and when which packet arrived.
func (in *incoming) tell(now time.Duration, out *udp.Batch) {
	for _, s := range in.media {
		var lost bool
		if in.pairs, lost = s.missing.Due(now, in.pairs[:0]); lost && s.layer != nil {
			s.layer.broken(in.started.Add(now))
		}
		if len(in.pairs) > 0 {
			in.way.sendControl(out, &rtcp.TransportLayerNack{SenderSSRC: in.ssrc, MediaSSRC: s.ssrc, Nacks: in.pairs})
		}
	}
	if now-in.numbered >= numbersEvery && in.numbers.PacketsHeld() > 0 {
		in.numbered = now
		in.way.sendControl(out, in.numbers.BuildFeedbackPacket()...)
	}
}

// tick sends what is due while nothing comes, and reports.
func (in *incoming) tick() {
	now := time.Since(in.started)
	in.tell(now, nil)
	if now-in.reported < reportEvery {
		return
	}
	in.reported = now
	in.forget(func(s *stream) bool { return s.replaced && now-s.heard > lateFor })
	report := rtcp.ReceiverReport{SSRC: in.ssrc}
	for _, s := range in.media {
		if block, ok := s.statistics.Report(s.ssrc, now); ok && len(report.Reports) < maxReports {
			report.Reports = append(report.Reports, block)
		}
	}
	if len(report.Reports) > 0 {
		in.way.sendControl(nil, &report)
	}
}

// maxReports is how many blocks a report has room for (RFC 3550, section 6.4.1).
const maxReports = 31
