package sfu

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"

	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/sfu/sdpfrag"
)

// Limits of a client's offer: each media section costs a transceiver for good, and each stream a receiver.
const (
	maxOffered = 64
	// maxStreams is how many SSRC lines a section may have: browsers write up to four for each stream.
	maxStreams = 64
)

// section is a media section of a description.
type section struct {
	mid     string
	kind    webrtc.RTPCodecType
	sends   bool              // its author wants to send in it
	layered bool              // in several encodings, told apart by RID
	ssrcs   []uint32          // announced for media
	repairs map[uint32]uint32 // SSRC of retransmissions, to that of what they repair
}

// readStreams fills in what a section says of its streams (RFC 5576, RFC 8853).
func (s *section) readStreams(media *sdp.MediaDescription) {
	s.sends = media.MediaName.Port.Value != 0
	s.repairs = make(map[uint32]uint32)
	for _, attribute := range media.Attributes {
		switch attribute.Key {
		case sdp.AttrKeyInactive, sdp.AttrKeyRecvOnly:
			s.sends = false
		case "simulcast":
			s.layered = true
		case sdp.AttrKeySSRC:
			if ssrc, ok := parseSSRC(strings.Fields(attribute.Value), 0); ok && !slices.Contains(s.ssrcs, ssrc) {
				s.ssrcs = append(s.ssrcs, ssrc)
			}
		case sdp.AttrKeySSRCGroup:
			fields := strings.Fields(attribute.Value)
			of, ok := parseSSRC(fields, 1)
			repair, also := parseSSRC(fields, 2)
			if ok && also && fields[0] == sdp.SemanticTokenFlowIdentification {
				s.repairs[repair] = of
			}
		}
	}
	s.ssrcs = slices.DeleteFunc(s.ssrcs, func(ssrc uint32) bool { return s.repairs[ssrc] != 0 })
}

func parseSSRC(fields []string, at int) (uint32, bool) {
	if at >= len(fields) {
		return 0, false
	}
	ssrc, err := strconv.ParseUint(fields[at], 10, 32)
	return uint32(ssrc), err == nil && ssrc != 0
}

// checkDescription looks at a description before pion does, because what pion fails on it has half
// applied by then. It returns the media sections, of which there may be limit.
func checkDescription(text string, limit int) ([]section, error) {
	var parsed sdp.SessionDescription
	if err := parsed.UnmarshalString(text); err != nil {
		return nil, fmt.Errorf("session description: %w", err)
	}
	if n := len(parsed.MediaDescriptions); n == 0 || n > limit {
		return nil, fmt.Errorf("session description: %d media sections, must be 1 to %d", n, limit)
	}
	if _, err := sdpfrag.Parse(text); err != nil {
		return nil, fmt.Errorf("session description: %w", err)
	}
	if !strings.Contains(text, "a=fingerprint:") {
		return nil, errors.New("session description: no DTLS fingerprint")
	}
	if strings.Contains(text, "a=setup:passive") {
		return nil, errors.New("session description: setup passive, must be actpass or active: the server is the DTLS server")
	}
	sections := make([]section, 0, len(parsed.MediaDescriptions))
	seen := make(map[string]bool)
	for _, media := range parsed.MediaDescriptions {
		mid, _ := media.Attribute(sdp.AttrKeyMID)
		kind := webrtc.NewRTPCodecType(media.MediaName.Media)
		switch {
		case mid == "" || len(mid) > 16 || seen[mid]:
			return nil, fmt.Errorf("session description: mid %.20q must be 1 to 16 characters and unique", mid)
		case kind == 0:
			return nil, fmt.Errorf("session description: media %.20q, must be audio or video", media.MediaName.Media)
		}
		if err := checkStreams(media); err != nil {
			return nil, err
		}
		seen[mid] = true
		added := section{mid: mid, kind: kind}
		added.readStreams(media)
		sections = append(sections, added)
	}
	return sections, nil
}

// checkStreams refuses a section that announces more streams, by SSRC or RID, than anybody sends: pion
// makes a receiver for each.
func checkStreams(media *sdp.MediaDescription) error {
	streams, layers := 0, 0
	for _, attribute := range media.Attributes {
		switch attribute.Key {
		case sdp.AttrKeySSRC, sdp.AttrKeySSRCGroup:
			streams++
		case "rid":
			layers++
		}
	}
	switch {
	case streams > maxStreams:
		return fmt.Errorf("session description: %d SSRC lines in a media section, at most %d", streams, maxStreams)
	case layers > maxLayers:
		return fmt.Errorf("session description: %d simulcast layers in a media section, at most %d", layers, maxLayers)
	}
	return nil
}

// sourcesOf says what each media section carries: what the client announced, or without that, as WHIP
// clients do, the first audio as the microphone and the first video as the camera.
func sourcesOf(announced []signaling.Track, sections []section) map[string]signaling.Source {
	sources := make(map[string]signaling.Source)
	if len(announced) == 0 {
		taken := make(map[webrtc.RTPCodecType]bool)
		for _, s := range sections {
			if taken[s.kind] {
				continue
			}
			taken[s.kind] = true
			sources[s.mid] = signaling.Camera
			if s.kind == webrtc.RTPCodecTypeAudio {
				sources[s.mid] = signaling.Microphone
			}
		}
		return sources
	}
	kinds := make(map[string]webrtc.RTPCodecType)
	for _, s := range sections {
		kinds[s.mid] = s.kind
	}
	for _, t := range announced {
		if kinds[t.MID] == kindOf(t.Source) {
			sources[t.MID] = t.Source
		}
	}
	return sources
}

// withDTX asks the client to send no audio while there is silence (RFC 7587, section 6.1): its encoder
// goes by what the answer says, and pion answers with the client's own parameters.
func withDTX(description string) string {
	opus := make(map[string]bool)
	for line := range strings.Lines(description) {
		if rest, ok := strings.CutPrefix(line, "a=rtpmap:"); ok {
			if payloadType, name, _ := strings.Cut(rest, " "); strings.HasPrefix(strings.ToLower(name), "opus/") {
				opus[payloadType] = true
			}
		}
	}
	var b strings.Builder
	for line := range strings.Lines(description) {
		rest, ok := strings.CutPrefix(line, "a=fmtp:")
		payloadType, parameters, _ := strings.Cut(strings.TrimRight(rest, "\r\n"), " ")
		if ok && opus[payloadType] && !strings.Contains(parameters, "usedtx") {
			line = "a=fmtp:" + payloadType + " " + parameters + ";usedtx=1\r\n"
		}
		b.WriteString(line)
	}
	return b.String()
}

// inOrderOf lists the formats of each media section of an answer as the offer does, which is what the client prefers and sends
// (RFC 3264, section 6.1): pion keeps to the order of the first offer.
func inOrderOf(offer, answer string) string {
	var preferred [][]string
	for line := range strings.Lines(offer) {
		if strings.HasPrefix(line, "m=") {
			preferred = append(preferred, strings.Fields(line))
		}
	}
	var b strings.Builder
	section := -1
	for line := range strings.Lines(answer) {
		if strings.HasPrefix(line, "m=") {
			section++
			if words := strings.Fields(line); section < len(preferred) && len(words) > formatsAt {
				slices.SortStableFunc(words[formatsAt:], func(a, b string) int {
					return slices.Index(preferred[section], a) - slices.Index(preferred[section], b)
				})
				line = strings.Join(words, " ") + "\r\n"
			}
		}
		b.WriteString(line)
	}
	return b.String()
}

// formatsAt is where the formats of a media section are among the words of its first line: kind, port, protocol, formats.
const formatsAt = 3
