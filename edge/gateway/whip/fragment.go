package whip

import (
	"errors"
	"fmt"
	"strings"

	"github.com/wardline/wardline/core/signaling"
)

// Bounds of a trickled fragment.
const (
	// MaxFragmentBytes bounds a PATCH body.
	MaxFragmentBytes = 64 << 10
	// MaxFragmentCandidates bounds the candidates of one PATCH.
	MaxFragmentCandidates = 64
	maxMIDBytes           = 16
)

// ErrFragment says that a PATCH body is no SDP fragment.
var ErrFragment = errors.New("malformed SDP fragment")

// Fragment is a parsed application/trickle-ice-sdpfrag (RFC 8840 section 9).
type Fragment struct {
	// Ufrag and Pwd are the sender's ICE credentials, of the session or of the first media section.
	Ufrag, Pwd string
	Candidates []Candidate
}

// ParseFragment parses an SDP fragment. Attributes that do not matter here are skipped.
func ParseFragment(body string) (Fragment, error) {
	if len(body) > MaxFragmentBytes {
		return Fragment{}, fmt.Errorf("%w: %d bytes, at most %d", ErrFragment, len(body), MaxFragmentBytes)
	}
	var f Fragment
	mid := ""
	for number, line := range strings.Split(body, "\n") {
		line = strings.TrimSuffix(line, "\r")
		if line == "" {
			continue
		}
		kind, value, found := strings.Cut(line, "=")
		if !found || len(kind) != 1 || kind[0] < 'a' || kind[0] > 'z' {
			return Fragment{}, fmt.Errorf("%w: line %d is not of the form x=…", ErrFragment, number+1)
		}
		switch kind {
		case "m":
			mid = ""
		case "a":
			var err error
			if mid, err = f.attribute(mid, value); err != nil {
				return Fragment{}, fmt.Errorf("%w: line %d: %w", ErrFragment, number+1, err)
			}
		}
	}
	if err := f.validate(); err != nil {
		return Fragment{}, err
	}
	return f, nil
}

// attribute takes in one "a=" line of the media section mid and returns that section's mid.
func (f *Fragment) attribute(mid, attribute string) (string, error) {
	name, value, _ := strings.Cut(attribute, ":")
	switch name {
	case "mid":
		if value == "" || len(value) > maxMIDBytes {
			return mid, fmt.Errorf("mid: %d bytes, must be 1 to %d", len(value), maxMIDBytes)
		}
		return value, nil
	case "ice-ufrag":
		f.Ufrag = firstOf(f.Ufrag, value)
	case "ice-pwd":
		f.Pwd = firstOf(f.Pwd, value)
	case "candidate":
		if len(attribute) > signaling.MaxCandidateBytes {
			return mid, fmt.Errorf("candidate: %d bytes, at most %d", len(attribute), signaling.MaxCandidateBytes)
		}
		f.Candidates = append(f.Candidates, Candidate{MID: mid, Candidate: attribute})
	case "end-of-candidates":
		f.Candidates = append(f.Candidates, Candidate{MID: mid})
	}
	if len(f.Candidates) > MaxFragmentCandidates {
		return mid, fmt.Errorf("over %d candidates", MaxFragmentCandidates)
	}
	return mid, nil
}

// validate checks the credentials against the grammar of RFC 8839 section 5.4.
func (f *Fragment) validate() error {
	if f.Ufrag != "" && !iceChars(f.Ufrag, 4) {
		return fmt.Errorf("%w: ice-ufrag: must be 4 to 256 letters, digits, '+' or '/'", ErrFragment)
	}
	if f.Pwd != "" && !iceChars(f.Pwd, 22) {
		return fmt.Errorf("%w: ice-pwd: must be 22 to 256 letters, digits, '+' or '/'", ErrFragment)
	}
	return nil
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func iceChars(s string, shortest int) bool {
	if len(s) < shortest || len(s) > 256 {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '+', c == '/':
		default:
			return false
		}
	}
	return true
}
