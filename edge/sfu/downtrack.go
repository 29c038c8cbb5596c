package sfu

import (
	"errors"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"

	"github.com/wardline/wardline/edge/sfu/downtrack"
	"github.com/wardline/wardline/edge/sfu/scalability"
	"github.com/wardline/wardline/edge/udp"
)

// way is how packets get to a subscriber: they are sealed, and lost if the connection is not up.
type way interface {
	send(packet []byte, out *udp.Batch, class udp.Class) error
	sendControl(out *udp.Batch, packets ...rtcp.Packet)
}

// downTrack is one RTP stream to a subscriber. It implements webrtc.TrackLocal itself, because the
// payload type follows the codec of whatever source it forwards.
type downTrack struct {
	id       string
	kind     webrtc.RTPCodecType
	path     *path     // shared by all down tracks of the subscriber
	feedback *feedback // likewise
	metrics  *metrics

	// What each packet takes comes first and side by side: by the next one it is out of the processor's caches.
	mu      sync.Mutex
	open    bool // the connection is up
	bound   bool // the subscriber has agreed to take the stream
	ssrc    webrtc.SSRC
	way     way    // to the subscriber
	layer   *layer // being forwarded
	history *downtrack.History
	packets uint32
	octets  uint32
	stream  downtrack.Stream
	spoken  spoken
	dialect dialect
	next    *layer // being waited for
	label   string // msid stream: what the browser keeps in lip sync
	repair  repair
	tail    tail
	chooser scalability.Chooser // of the layer's frames
	// described is room for a dependency descriptor.
	described []byte
}

func newDownTrack(id string, kind webrtc.RTPCodecType, from *feedback, m *metrics) *downTrack {
	rate := uint32(videoClockRate)
	if kind == webrtc.RTPCodecTypeAudio {
		rate = audioClockRate
	}
	return &downTrack{
		id: id, kind: kind, path: from.path, feedback: from, metrics: m,
		stream: *downtrack.New(rate), history: downtrack.NewHistory(ringSize(kind)),
	}
}

// Bind implements webrtc.TrackLocal.
func (d *downTrack) Bind(ctx webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	codecs := ctx.CodecParameters()
	if len(codecs) == 0 {
		return webrtc.RTPCodecParameters{}, errors.New("no codec in common")
	}
	d.mu.Lock()
	d.bound, d.ssrc = true, ctx.SSRC()
	d.dialect = newDialect(webrtc.RTPParameters{Codecs: codecs, HeaderExtensions: ctx.HeaderExtensions()})
	d.spoken = spoken{}
	d.repair.ssrc = ctx.SSRCRetransmission()
	reports := d.dialect.transport != 0
	d.mu.Unlock()
	if reports {
		d.path.reports.Store(true)
	}
	d.feedback.about(uint32(ctx.SSRC()), d)
	return codecs[0], nil
}

// Unbind implements webrtc.TrackLocal.
func (d *downTrack) Unbind(webrtc.TrackLocalContext) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bound = false
	return nil
}

// ID implements webrtc.TrackLocal.
func (d *downTrack) ID() string { return d.id }

// RID implements webrtc.TrackLocal; nothing is sent in several encodings.
func (d *downTrack) RID() string { return "" }

// StreamID implements webrtc.TrackLocal.
func (d *downTrack) StreamID() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.label
}

// Kind implements webrtc.TrackLocal.
func (d *downTrack) Kind() webrtc.RTPCodecType { return d.kind }

func (d *downTrack) setLabel(label string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.label = label
}

// goes says how packets get to the subscriber.
func (d *downTrack) goes(by way) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.way = by
}

// flowsLocked reports whether anything can be sent.
func (d *downTrack) flowsLocked() bool { return d.open && d.bound && d.way != nil }

// connected starts forwarding. What came before never left, so that the source has to start again.
func (d *downTrack) connected(now time.Time) {
	d.mu.Lock()
	d.open = true
	target := d.target()
	d.mu.Unlock()
	if target != nil {
		target.requestKeyFrame(now)
	}
}

// target is the layer that is, or is to be, forwarded.
func (d *downTrack) target() *layer {
	if d.next != nil {
		return d.next
	}
	return d.layer
}

// followed is the layer that is, or is to be, forwarded, nil if there is none, and how much of it.
func (d *downTrack) followed() (*layer, scalability.Layers) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.target(), d.chooser.Wanted()
}

// follow makes a layer the source as soon as it can be switched to; nil stops forwarding. With atOnce the
// present source stops now, and nothing is forwarded until then.
func (d *downTrack) follow(l *layer, now time.Time, atOnce bool) {
	d.mu.Lock()
	if d.target() == l {
		d.mu.Unlock()
		return
	}
	old := []*layer{d.layer, d.next}
	if l == nil || atOnce {
		d.stream.Stop()
		d.layer, d.next = nil, nil
	}
	if l != nil {
		d.stream.Switch(l.id)
		d.next = l
		if l == d.layer {
			d.next = nil
		}
		l.add(d)
	}
	d.dropLocked(old...)
	d.mu.Unlock()
	if l != nil {
		l.requestKeyFrame(now)
	}
}

// dropLocked leaves layers that are neither forwarded nor waited for.
func (d *downTrack) dropLocked(layers ...*layer) {
	for _, each := range layers {
		if each != nil && each != d.layer && each != d.next {
			each.remove(d)
		}
	}
}

// retry asks again for the key frame that a switch waits for.
func (d *downTrack) retry(now time.Time) {
	d.mu.Lock()
	next := d.next
	if next == nil && d.chooser.Waits() {
		next = d.layer
	}
	if !d.open {
		next = nil
	}
	d.mu.Unlock()
	if next != nil {
		next.requestKeyFrame(now)
	}
}

// forward sends packets on if their layer is the source. It returns how many left, and the bytes of their payloads.
func (d *downTrack) forward(from *layer, came []packet, by *udp.Batch) (packets, bytes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.flowsLocked() {
		return 0, 0
	}
	for i := range came {
		if sent, ok := d.forwardLocked(from, &came[i], by); ok {
			packets++
			bytes += sent
		}
	}
	return packets, bytes
}

func (d *downTrack) forwardLocked(from *layer, p *packet, by *udp.Batch) (int, bool) {
	before := d.stream.Current()
	var verdict scalability.Verdict
	if p.described {
		if verdict = d.judgeLocked(from, p, by); !verdict.Pass {
			return 0, false
		}
	}
	payloadType, payload, ok := d.translate(p)
	if !ok { // it has no number, also no transport-wide one: what does not leave is no loss
		d.stream.Skip(from.id, &p.numbers)
		d.switchedLocked(before, from, by)
		d.undecodableLocked(from, p.format.mime)
		return 0, false
	}
	out, ok := d.stream.Forward(from.id, &p.numbers)
	if !ok {
		return 0, false
	}
	d.switchedLocked(before, from, by)
	number := d.numberLocked(len(payload), p.numbers.Arrival-d.path.epoch)
	sent := downtrack.Sent{Source: from.id, Number: p.numbers.Number, Out: out, Transport: number}
	d.history.Record(sent)
	if p.described {
		d.history.Describe(out.Sequence, downtrack.Frame{
			Number: d.stream.Frame(p.frame.Number), Last: verdict.Last, Structure: p.structure, Active: verdict.Active,
		})
	}
	return d.writeLocked(p, payloadType, payload, sent, by)
}

// switchedLocked takes over a layer that has become the source by now.
func (d *downTrack) switchedLocked(before downtrack.Source, to *layer, by *udp.Batch) {
	if before == to.id || d.stream.Current() != to.id {
		return
	}
	old := d.layer
	d.layer, d.next = to, nil
	d.dropLocked(old)
	d.reportLocked(to, by)
}

// numberLocked is the transport-wide number of a packet of that much payload that is about to leave, zero if it needs none.
func (d *downTrack) numberLocked(payload int, now time.Duration) uint16 {
	if d.dialect.transport == 0 {
		return 0
	}
	return d.path.number(payload, now)
}

// sendLocked sends a packet again with the numbers that it had.
func (d *downTrack) sendLocked(p *packet, sent downtrack.Sent, by *udp.Batch) (int, bool) {
	payloadType, payload, ok := d.translate(p)
	if !ok {
		return 0, false
	}
	return d.writeLocked(p, payloadType, payload, sent, by)
}

// writeLocked writes a packet, translated, with other numbers. The same packet and numbers give the same bytes: with
// AES-GCM two different packets under one index would reveal key material.
func (d *downTrack) writeLocked(p *packet, payloadType uint8, payload []byte, sent downtrack.Sent, by *udp.Batch) (int, bool) {
	header := outHeader{
		marker: p.Marker, payloadType: payloadType,
		sequence: sent.Out.Sequence, timestamp: sent.Out.Timestamp, ssrc: uint32(d.ssrc),
		extensions: [2]extension{{d.dialect.audioLevel, p.level}, {d.dialect.captureTime, p.capture}},
	}
	if p.described {
		d.describeLocked(p, sent.Out, &header)
	}
	fill := d.fill(len(payload))
	header.padding = fill > 0
	raw := d.beginLocked(&header, sent.Transport, by)
	start := len(raw)
	raw = append(raw, payload...)
	if p.picture.HasPictureID || p.picture.HasTL0 {
		p.picture.Rewrite(raw[start:], sent.Out.PictureID, sent.Out.TL0)
	}
	raw = append(raw, padding[maxPadding-fill:]...)
	if fill > 0 {
		raw[len(raw)-1] = byte(fill)
	}
	if err := d.way.send(raw, by, d.class()); err != nil {
		return 0, false
	}
	d.packets++
	d.octets += uint32(len(payload))
	return len(payload), true
}

// fill is how many bytes of padding a payload gets. Browsers cut a picture into packets that differ by a byte; padded to one size
// they leave as one message, which the kernel cuts (UDP_SEGMENT).
func (d *downTrack) fill(payload int) int {
	const unit = 8
	if d.kind != webrtc.RTPCodecTypeVideo {
		return 0
	}
	return (unit - payload%unit) % unit
}

// beginLocked begins a packet, where it can stay until it leaves.
func (d *downTrack) beginLocked(header *outHeader, number uint16, by *udp.Batch) []byte {
	header.numbered, header.number = d.dialect.transport, number
	var room []byte
	if by != nil {
		room = by.Room()
	}
	return header.appendTo(room)
}

// class is how routers and a full queue are to treat what is sent.
func (d *downTrack) class() udp.Class {
	if d.kind == webrtc.RTPCodecTypeAudio {
		return udp.Audio
	}
	return udp.Video
}

// report passes the clocks of the publisher on, in the subscriber's timestamps.
func (d *downTrack) report(from *layer, by *udp.Batch) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open && d.stream.Current() == from.id {
		d.reportLocked(from, by)
	}
}

func (d *downTrack) reportLocked(from *layer, by *udp.Batch) {
	report := from.report.Load()
	if report == nil || d.way == nil {
		return
	}
	d.way.sendControl(by, &rtcp.SenderReport{
		SSRC: uint32(d.ssrc), NTPTime: report.ntp, RTPTime: report.rtp + d.stream.TimestampOffset(),
		PacketCount: d.packets, OctetCount: d.octets,
	})
}

func (d *downTrack) pictureLost(now time.Time) {
	d.mu.Lock()
	target := d.target()
	d.mu.Unlock()
	if target != nil {
		target.requestKeyFrame(now)
	}
}
