package whip_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway/whip"
)

func TestParseFragment(t *testing.T) {
	f, err := whip.ParseFragment(trickle)
	require.NoError(t, err)
	require.Equal(t, "EsAw", f.Ufrag)
	require.Equal(t, "P2uYro0UCOQ4zxjKXaWCBui1", f.Pwd)
	require.Len(t, f.Candidates, 2)

	f, err = whip.ParseFragment("m=audio 9 RTP/AVP 0\na=mid:a\na=candidate:1\nm=video 9 RTP/AVP 0\na=candidate:2\n")
	require.NoError(t, err, "bare line feeds are common")
	require.Equal(t, []whip.Candidate{{MID: "a", Candidate: "candidate:1"}, {Candidate: "candidate:2"}}, f.Candidates,
		"a media section does not inherit the mid of the one before")
}

func TestParseFragmentRefuses(t *testing.T) {
	for name, fragment := range map[string]string{
		"no attribute":    "candidate:1",
		"two-letter type": "ab=1",
		"capital type":    "A=1",
		"empty mid":       "a=mid:",
		"long mid":        "a=mid:" + strings.Repeat("x", 17),
		"short ufrag":     "a=ice-ufrag:abc",
		"odd ufrag":       "a=ice-ufrag:abc!",
		"short pwd":       "a=ice-pwd:abc",
		"long candidate":  "a=candidate:" + strings.Repeat("x", signaling.MaxCandidateBytes),
		"many candidates": strings.Repeat("a=candidate:1\n", whip.MaxFragmentCandidates+1),
		"long":            strings.Repeat("\n", whip.MaxFragmentBytes+1),
	} {
		_, err := whip.ParseFragment(fragment)
		require.ErrorIs(t, err, whip.ErrFragment, name)
	}
}

func TestCheckOffer(t *testing.T) {
	section := "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"
	for name, c := range map[string]struct {
		offer string
		kind  signaling.SessionKind
		want  error
	}{
		"publishes":              {offer, signaling.WHIPSession, nil},
		"plays":                  {playback, signaling.WHEPSession, nil},
		"no direction does both": {strings.Replace(offer, "a=sendonly\r\n", "", 1), signaling.WHEPSession, nil},
		"session-wide direction": {
			strings.Replace(strings.Replace(offer, "a=sendonly\r\n", "", 1), "a=group", "a=inactive\r\na=group", 1),
			signaling.WHIPSession, whip.ErrUnusableOffer,
		},
		"data channel only": {strings.Replace(offer, "m=audio", "m=application", 1), signaling.WHIPSession, whip.ErrUnusableOffer},
		"too many sections": {offer + strings.Repeat(section, 16), signaling.WHIPSession, whip.ErrUnusableOffer},
		"not SDP":           {"{}", signaling.WHIPSession, whip.ErrMalformedSDP},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, whip.CheckOffer(c.kind, c.offer), c.want)
		})
	}
}

func FuzzParseFragment(f *testing.F) {
	for _, seed := range []string{trickle, restartFragment, "", "a=", "m=\na=mid:0", "a=candidate:\r\n\r\n", "=x", "a=end-of-candidates"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		fragment, err := whip.ParseFragment(body)
		if err != nil {
			require.ErrorIs(t, err, whip.ErrFragment)
			return
		}
		require.LessOrEqual(t, len(fragment.Candidates), whip.MaxFragmentCandidates)
		var again strings.Builder
		for _, c := range fragment.Candidates {
			require.LessOrEqual(t, len(c.Candidate), signaling.MaxCandidateBytes)
			if c.Candidate == "" {
				c.Candidate = "end-of-candidates"
			}
			fmt.Fprintf(&again, "m=x\na=mid:%s\na=%s\n", c.MID, c.Candidate)
		}
		if strings.Contains(again.String(), "a=mid:\n") {
			return
		}
		reparsed, err := whip.ParseFragment(again.String())
		require.NoError(t, err)
		require.Equal(t, fragment.Candidates, reparsed.Candidates, "what was understood can be said again")
	})
}

func FuzzCheckOffer(f *testing.F) {
	for _, seed := range []string{offer, playback, "", "v=0", "v=0\r\no=- 0 0 IN IP4 0\r\ns=-\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		if whip.CheckOffer(signaling.WHIPSession, body) == nil {
			require.Contains(t, body, "ice-ufrag")
		}
	})
}
