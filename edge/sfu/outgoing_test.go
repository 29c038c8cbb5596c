package sfu

import (
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/signaling"
)

// outgoing is one RTP stream a client sends.
type outgoing struct {
	c      *client
	sender *webrtc.RTPSender
	track  *webrtc.TrackLocalStaticRTP
	rid    string
	mid    func() string

	mu       sync.Mutex
	sequence uint16
	time     uint32
	picture  uint16
	mark     byte
	keyFrame bool
	paused   bool
	level    int
	fill     int // bytes of a picture
	drop     func(sequence uint16) bool
	nack     func(sequence uint16)
}

const loudLevel = 20

var sendOnly = webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}

// publish offers sources and starts sending them: a packet of audio or video each 10 ms.
func (c *client) publish(announce bool, sources ...signaling.Source) map[string]*outgoing {
	c.w.Helper()
	c.pub = c.peerConnection()
	streams := map[string]*outgoing{}
	var transceivers []*webrtc.RTPTransceiver
	for _, source := range sources {
		mime, rids := c.video, []string{""}
		switch source {
		case signaling.Microphone:
			mime = webrtc.MimeTypeOpus
		case signaling.Camera:
			if c.attach.Kind == signaling.BrowserSession {
				rids = []string{"q", "h", "f"}
			}
		case signaling.Screen:
		}
		var sender *webrtc.RTPSender
		for i, rid := range rids {
			options := []func(*webrtc.TrackLocalStaticRTP){}
			if rid != "" {
				options = append(options, webrtc.WithRTPStreamID(rid))
			}
			local, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: mime}, string(source), "stream", options...)
			require.NoError(c.w, err)
			if i == 0 {
				tr, err := c.pub.AddTransceiverFromTrack(local, sendOnly)
				require.NoError(c.w, err)
				sender = tr.Sender()
				transceivers = append(transceivers, tr)
			} else {
				require.NoError(c.w, sender.AddEncoding(local))
			}
			tr := transceivers[len(transceivers)-1]
			streams[string(source)+rid] = &outgoing{
				c: c, sender: sender, track: local, rid: rid, mid: tr.Mid, keyFrame: true, level: 127,
				sequence: uint16(rand.Uint32()), time: rand.Uint32(), mark: byte(len(streams) + 1),
			}
		}
	}
	c.offer(func() []signaling.Track {
		if !announce {
			return nil
		}
		var tracks []signaling.Track
		for i, tr := range transceivers {
			tracks = append(tracks, signaling.Track{MID: tr.Mid(), Source: sources[i]})
		}
		return tracks
	})
	for _, stream := range streams {
		c.running.Go(stream.run)
		c.readPLIs(stream)
	}
	return streams
}

// offer negotiates the publishing connection.
func (c *client) offer(tracks func() []signaling.Track) {
	c.w.Helper()
	offer, err := c.pub.CreateOffer(nil)
	require.NoError(c.w, err)
	gathered := webrtc.GatheringCompletePromise(c.pub)
	require.NoError(c.w, c.pub.SetLocalDescription(offer))
	<-gathered
	c.offers++
	c.gateway().send(c.session, signaling.Offer{
		Route: c.attach.Route, PC: signaling.Publish, Negotiation: c.offers, SDP: c.edit(c.pub.LocalDescription().SDP), Tracks: tracks(),
	})
	answer := await[signaling.Answer](c.gateway(), c.session)
	require.Equal(c.w, c.offers, answer.Negotiation)
	require.NoError(c.w, c.pub.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: c.redirect(answer.SDP)}))
}

// readPLIs counts key frame requests and answers them.
func (c *client) readPLIs(o *outgoing) {
	c.running.Go(func() {
		go func() {
			<-c.quit
			_ = c.pub.Close()
		}()
		for {
			var packets []rtcp.Packet
			var err error
			if o.rid == "" {
				packets, _, err = o.sender.ReadRTCP()
			} else {
				packets, _, err = o.sender.ReadSimulcastRTCP(o.rid)
			}
			if err != nil {
				return
			}
			for _, p := range packets {
				switch p := p.(type) {
				case *rtcp.TransportLayerNack:
					o.lost(p)
				case *rtcp.PictureLossIndication:
					c.plis.Add(1)
					o.mu.Lock()
					o.keyFrame = true
					o.mu.Unlock()
				}
			}
		}
	})
}

func (o *outgoing) lost(request *rtcp.TransportLayerNack) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, pair := range request.Nacks {
		for _, sequence := range pair.PacketList() {
			if o.nack != nil {
				o.nack(sequence)
			}
		}
	}
}

func (o *outgoing) run() {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-o.c.quit:
			return
		case <-ticker.C:
			if errors.Is(o.step(), io.ErrClosedPipe) {
				return
			}
		}
	}
}

// step sends one packet. The payload's last byte names the stream.
func (o *outgoing) step() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.paused {
		return nil
	}
	o.sequence++
	p := rtp.Packet{Header: rtp.Header{Version: 2, Marker: true, SequenceNumber: o.sequence}}
	if o.track.Kind() == webrtc.RTPCodecTypeVideo {
		o.time += 900
		o.picture = (o.picture + 1) & 0x7fff
		frame := byte(1)
		if o.keyFrame {
			frame, o.keyFrame = 0, false
		}
		p.Payload = append(o.descriptor(frame == 0), make([]byte, o.fill)...)
		p.Payload = append(p.Payload, o.mark)
	} else {
		o.time += 480
		p.Payload = []byte{0xf8, o.mark}
		o.extend(&p, sdp.AudioLevelURI, []byte{0x80 | byte(o.level)})
	}
	p.Timestamp = o.time
	o.extend(&p, sdp.SDESMidURI, []byte(o.mid()))
	if o.rid != "" {
		o.extend(&p, sdp.SDESRTPStreamIDURI, []byte(o.rid))
	}
	if o.drop != nil && o.drop(o.sequence) {
		return nil
	}
	return o.track.WriteRTP(&p)
}

// descriptor begins the payload of a packet that is a whole frame.
func (o *outgoing) descriptor(key bool) []byte {
	pick := func(ifKey, otherwise byte) byte {
		if key {
			return ifKey
		}
		return otherwise
	}
	picture := []byte{0x80 | byte(o.picture>>8), byte(o.picture)}
	switch o.track.Codec().MimeType {
	case webrtc.MimeTypeVP9:
		return append([]byte{pick(0x8c, 0xcc)}, picture...)
	case webrtc.MimeTypeAV1:
		return []byte{pick(0x18, 0x10)}
	case webrtc.MimeTypeH264:
		return []byte{pick(0x65, 0x41)}
	default:
		return append(append([]byte{0x90, 0x80}, picture...), pick(0, 1))
	}
}

func (o *outgoing) extend(p *rtp.Packet, uri string, value []byte) {
	for _, e := range o.sender.GetParameters().HeaderExtensions {
		if e.URI == uri {
			_ = p.SetExtension(uint8(e.ID), value)
		}
	}
}

func (o *outgoing) set(change func(*outgoing)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change(o)
}

// from likes packets of one stream.
func (o *outgoing) from() func(rtp.Packet) bool {
	return func(p rtp.Packet) bool { return len(p.Payload) > 0 && p.Payload[len(p.Payload)-1] == o.mark }
}

// requireContinuous checks that sequence numbers have no hole and timestamps never go back.
func requireContinuous(w *world, packets []rtp.Packet) {
	w.Helper()
	for i := 1; i < len(packets); i++ {
		before, after := packets[i-1], packets[i]
		require.Equal(w, before.SequenceNumber+1, after.SequenceNumber, "packet %d", i)
		require.GreaterOrEqual(w, int32(after.Timestamp-before.Timestamp), int32(0))
	}
}
