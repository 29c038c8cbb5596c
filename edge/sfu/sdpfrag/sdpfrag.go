// Package sdpfrag reads and writes the SDP fragments (RFC 8840) that WHIP and WHEP clients send to
// restart ICE or to trickle candidates.
package sdpfrag

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrMalformed says that a fragment has no usable ICE credentials.
var ErrMalformed = errors.New("malformed SDP fragment")

// Limits of RFC 8839, section 5.4.
const (
	minUfrag, minPassword = 4, 22
	maxCredential         = 256
)

// Fragment is the ICE part of a session description.
type Fragment struct {
	Ufrag, Password string
	// Candidates are the distinct values of "a=candidate" lines, in order.
	Candidates []string
}

// Parse reads the first ICE credentials and all candidates of a fragment or of a whole description.
func Parse(text string) (Fragment, error) {
	var f Fragment
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		switch name {
		case "a=ice-ufrag":
			if f.Ufrag == "" {
				f.Ufrag = value
			}
		case "a=ice-pwd":
			if f.Password == "" {
				f.Password = value
			}
		case "a=candidate":
			if !slices.Contains(f.Candidates, value) {
				f.Candidates = append(f.Candidates, value)
			}
		}
	}
	if err := checkCredential("ice-ufrag", f.Ufrag, minUfrag); err != nil {
		return Fragment{}, err
	}
	if err := checkCredential("ice-pwd", f.Password, minPassword); err != nil {
		return Fragment{}, err
	}
	return f, nil
}

func checkCredential(name, value string, least int) error {
	if len(value) < least || len(value) > maxCredential {
		return fmt.Errorf("%w: %s has %d characters, must be %d to %d", ErrMalformed, name, len(value), least, maxCredential)
	}
	for _, c := range []byte(value) {
		if !isICEChar(c) {
			return fmt.Errorf("%w: %s has the character %q, allowed are letters, digits, '+' and '/'", ErrMalformed, name, c)
		}
	}
	return nil
}

func isICEChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/'
}

// String renders the fragment for an answer.
func (f Fragment) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "a=ice-lite\r\na=ice-ufrag:%s\r\na=ice-pwd:%s\r\n", f.Ufrag, f.Password)
	for _, candidate := range f.Candidates {
		fmt.Fprintf(&b, "a=candidate:%s\r\n", candidate)
	}
	b.WriteString("a=end-of-candidates\r\n")
	return b.String()
}

// Replace returns a description with the fragment's credentials in place of its own, and without the
// candidates that belonged to those: an ICE-lite server learns the new ones from the client's checks.
func Replace(description string, f Fragment) string {
	var b strings.Builder
	for line := range strings.Lines(description) {
		switch {
		case strings.HasPrefix(line, "a=ice-ufrag:"):
			fmt.Fprintf(&b, "a=ice-ufrag:%s\r\n", f.Ufrag)
		case strings.HasPrefix(line, "a=ice-pwd:"):
			fmt.Fprintf(&b, "a=ice-pwd:%s\r\n", f.Password)
		case isCandidate(line):
		default:
			b.WriteString(line)
		}
	}
	return b.String()
}

// WithoutCandidates returns a description without its candidates: an ICE-lite server answers checks and
// sends none, so that it has no use for them however many there are.
func WithoutCandidates(description string) string {
	var b strings.Builder
	for line := range strings.Lines(description) {
		if !isCandidate(line) {
			b.WriteString(line)
		}
	}
	return b.String()
}

func isCandidate(line string) bool {
	return strings.HasPrefix(line, "a=candidate:") || strings.HasPrefix(line, "a=end-of-candidates")
}
