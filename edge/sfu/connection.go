package sfu

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/wardline/wardline/edge/sfu/sdpfrag"
)

// gatherTimeout bounds how long candidates may take; they are the addresses of sockets already open.
const gatherTimeout = 2 * time.Second

var errGather = errors.New("gathering candidates took too long")

// connection is a peer connection with the negotiation that is common to both directions. Its leg's
// worker negotiates, without any lock; the room's lock guards candidates.
type connection struct {
	pc         *webrtc.PeerConnection
	transport  *transport
	offered    string // the client's last offer, for ICE restarts
	candidates int
}

// newConnection makes a peer connection whose media from takes; changed is called from a goroutine of its own with each state.
func (a *apis) newConnection(
	engine *webrtc.MediaEngine, from handler, changed func(*connection, webrtc.PeerConnectionState),
) (*connection, error) {
	pc, transport, err := a.connect(engine, from)
	if err != nil {
		return nil, fmt.Errorf("peer connection: %w", err)
	}
	c := &connection{pc: pc, transport: transport}
	pc.OnConnectionStateChange(func(state webrtc.PeerConnectionState) { changed(c, state) })
	return c, nil
}

// answer applies the client's offer and returns the answer with all candidates. prepare is called in
// between, to add what is to be sent.
func (c *connection) answer(offer string, prepare func() error) (string, error) {
	offer = sdpfrag.WithoutCandidates(offer)
	c.transport.hidden.Store(takesHidden(offer))
	if err := c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		return "", fmt.Errorf("apply offer: %w", err)
	}
	if prepare != nil {
		if err := prepare(); err != nil {
			return "", err
		}
	}
	answer, err := c.pc.CreateAnswer(nil)
	if err != nil {
		return "", fmt.Errorf("create answer: %w", err)
	}
	local, err := c.setLocal(answer)
	if err != nil {
		return "", err
	}
	c.offered = offer
	return local, nil
}

// offer creates an offer with all candidates, and with new ICE credentials if ICE is to be restarted.
func (c *connection) offer(restart bool) (string, error) {
	offer, err := c.pc.CreateOffer(&webrtc.OfferOptions{ICERestart: restart})
	if err != nil {
		return "", fmt.Errorf("create offer: %w", err)
	}
	return c.setLocal(offer)
}

func (c *connection) setLocal(description webrtc.SessionDescription) (string, error) {
	gathered := webrtc.GatheringCompletePromise(c.pc)
	if err := c.pc.SetLocalDescription(description); err != nil {
		return "", fmt.Errorf("apply own description: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), gatherTimeout)
	defer cancel()
	select {
	case <-gathered:
		return c.pc.LocalDescription().SDP, nil
	case <-ctx.Done():
		return "", errGather
	}
}

// accept applies the client's answer.
func (c *connection) accept(answer string) error {
	answer = sdpfrag.WithoutCandidates(answer)
	c.transport.hidden.Store(takesHidden(answer))
	if err := c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		return fmt.Errorf("apply answer: %w", err)
	}
	return nil
}

// takesHidden reports whether the author of a description takes encrypted header extensions (RFC 9335, section 4).
func takesHidden(description string) bool { return strings.Contains(description, "\na=cryptex") }

// restart applies new ICE credentials of the client, as if it had repeated its last offer with them, and
// returns the server's own.
func (c *connection) restart(fragment string) (string, error) {
	if c.offered == "" {
		return "", errors.New("nothing to restart: no offer yet")
	}
	theirs, err := sdpfrag.Parse(fragment)
	if err != nil {
		return "", err
	}
	answer, err := c.answer(sdpfrag.Replace(c.offered, theirs), nil)
	if err != nil {
		return "", err
	}
	ours, err := sdpfrag.Parse(answer)
	if err != nil {
		return "", fmt.Errorf("own description: %w", err)
	}
	return ours.String(), nil
}

// maxCandidates is how many candidates a client may trickle for one peer connection.
const maxCandidates = 64

// candidate takes note of a client's candidate. An ICE-lite server sends no checks and learns the
// client's addresses from the checks it gets, so there is nothing else to do.
func (c *connection) candidate() error {
	c.candidates++
	if c.candidates > maxCandidates {
		return fmt.Errorf("more than %d candidates", maxCandidates)
	}
	return nil
}
