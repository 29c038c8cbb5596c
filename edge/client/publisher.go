package client

import (
	"fmt"
	"sync"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"

	"github.com/wardline/wardline/core/signaling"
)

// maxCandidates is how many candidates a peer connection may trickle.
const maxCandidates = 64

var sendOnly = webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}

// publisher is the sending half of a leg: the participant offers. Everything is offered once and at once.
type publisher struct {
	pc          *webrtc.PeerConnection
	route       signaling.Route
	send        func(signaling.Message)
	outstanding *signaling.Offer // without an answer
	started     bool
	reading     sync.WaitGroup
}

// offer publishes the sources; none starts nothing.
func (p *publisher) offer(from *sources, allowed []signaling.Source) error {
	transceivers := make(map[signaling.Source]*webrtc.RTPTransceiver)
	for _, source := range allowed {
		track := from.track(source)
		if track == nil {
			continue
		}
		transceiver, err := p.pc.AddTransceiverFromTrack(track, sendOnly)
		if err != nil {
			return fmt.Errorf("add %s: %w", source, err)
		}
		transceivers[source] = transceiver
		p.reading.Go(func() { readReports(transceiver.Sender(), track) })
	}
	if len(transceivers) == 0 {
		return nil
	}
	offer, err := p.pc.CreateOffer(nil)
	if err != nil {
		return fmt.Errorf("create offer: %w", err)
	}
	if err := p.pc.SetLocalDescription(offer); err != nil {
		return fmt.Errorf("set offer: %w", err)
	}
	p.started = true
	p.outstanding = &signaling.Offer{Route: p.route, PC: signaling.Publish, Negotiation: 1, SDP: offer.SDP}
	for source, transceiver := range transceivers {
		p.outstanding.Tracks = append(p.outstanding.Tracks, signaling.Track{MID: transceiver.Mid(), Source: source})
	}
	p.send(*p.outstanding)
	return nil
}

// readReports reads what receivers say about a track until it ends.
func readReports(sender *webrtc.RTPSender, track webrtc.TrackLocal) {
	maker, _ := track.(KeyFramer)
	for {
		packets, _, err := sender.ReadRTCP()
		if err != nil {
			return
		}
		if maker == nil {
			continue
		}
		for _, each := range packets {
			switch each.(type) {
			case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
				maker.KeyFrame()
			}
		}
	}
}

// answer takes the SFU's answer; one to no outstanding offer is a repeated one.
func (p *publisher) answer(m signaling.Answer) error {
	if p.outstanding == nil || m.Negotiation != p.outstanding.Negotiation {
		return nil
	}
	p.outstanding = nil
	if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: m.SDP}); err != nil {
		return fmt.Errorf("set answer: %w", err)
	}
	return nil
}

// candidate adds one of the SFU's candidates. One that comes before the answer is in the answer too.
func (p *publisher) candidate(m signaling.Candidate) error {
	if m.Candidate == "" || p.pc.RemoteDescription() == nil {
		return nil
	}
	return addCandidate(p.pc, m)
}

// resume repeats an offer that may have been lost with the socket, under the same number.
func (p *publisher) resume() {
	if p.outstanding != nil {
		p.send(*p.outstanding)
	}
}

func addCandidate(pc *webrtc.PeerConnection, m signaling.Candidate) error {
	mid := m.MID
	if mid == "" {
		mid = "0"
	}
	if err := pc.AddICECandidate(webrtc.ICECandidateInit{Candidate: m.Candidate, SDPMid: &mid}); err != nil {
		return fmt.Errorf("add candidate: %w", err)
	}
	return nil
}
