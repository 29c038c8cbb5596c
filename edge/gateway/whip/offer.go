package whip

import (
	"errors"
	"fmt"

	"github.com/pion/sdp/v3"

	"github.com/wardline/wardline/core/signaling"
)

// maxSections bounds the media sections of an offer: audio and video, and room for what encoders add.
const maxSections = 16

// Errors of CheckOffer.
var (
	// ErrMalformedSDP says that the body is no session description at all.
	ErrMalformedSDP = errors.New("malformed session description")
	// ErrUnusableOffer says that it is one, but not one a session can be opened with.
	ErrUnusableOffer = errors.New("unusable offer")
)

// CheckOffer tells early, and in words, what a media server could only fail on: an offer must be SDP
// (RFC 8866), carry ICE credentials and a DTLS fingerprint, and send (WHIP) or receive (WHEP) something.
func CheckOffer(kind signaling.SessionKind, offer string) error {
	var description sdp.SessionDescription
	if err := description.UnmarshalString(offer); err != nil {
		// The parser's words may quote the body, which need not be repeated to its sender.
		return fmt.Errorf("%w: RFC 8866 syntax", ErrMalformedSDP)
	}
	sections := description.MediaDescriptions
	if len(sections) == 0 || len(sections) > maxSections {
		return fmt.Errorf("%w: %d media sections, must be 1 to %d", ErrUnusableOffer, len(sections), maxSections)
	}
	for _, name := range []string{"ice-ufrag", "ice-pwd", "fingerprint"} {
		if !hasAttribute(&description, name) {
			return fmt.Errorf("%w: no %s attribute", ErrUnusableOffer, name)
		}
	}
	wanted, verb := "sendonly", "sends"
	if kind == signaling.WHEPSession {
		wanted, verb = "recvonly", "receives"
	}
	for _, section := range sections {
		if usable(&description, section, wanted) {
			return nil
		}
	}
	return fmt.Errorf("%w: no audio or video section %s anything", ErrUnusableOffer, verb)
}

func hasAttribute(description *sdp.SessionDescription, name string) bool {
	if _, ok := description.Attribute(name); ok {
		return true
	}
	for _, section := range description.MediaDescriptions {
		if _, ok := section.Attribute(name); ok {
			return true
		}
	}
	return false
}

// usable reports whether a section carries media in the wanted direction; without any direction
// attribute a section does both (RFC 8866 section 6.7).
func usable(description *sdp.SessionDescription, section *sdp.MediaDescription, wanted string) bool {
	if name := section.MediaName.Media; name != "audio" && name != "video" {
		return false
	}
	for _, has := range []func(string) (string, bool){section.Attribute, description.Attribute} {
		for _, direction := range []string{"sendrecv", "sendonly", "recvonly", "inactive"} {
			if _, ok := has(direction); ok {
				return direction == "sendrecv" || direction == wanted
			}
		}
	}
	return true
}
