package sdpfrag_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/edge/sfu/sdpfrag"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	password  = "0123456789abcdefghijkl"
	candidate = "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n"
)

func TestParse(t *testing.T) {
	tests := map[string]struct {
		text string
		want string
	}{
		"good": {
			"a=ice-ufrag:abcd\r\na=ice-pwd:" + password + "\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n" + candidate, "",
		},
		"bare newlines": {"a=ice-ufrag:abcd\na=ice-pwd:" + password + "\n", ""},
		"empty":         {"", "ice-ufrag has 0 characters"},
		"short ufrag":   {"a=ice-ufrag:abc\r\n", "must be 4 to 256"},
		"no password":   {"a=ice-ufrag:abcd\r\n", "ice-pwd has 0"},
		"odd character": {"a=ice-ufrag:ab\x00d\r\na=ice-pwd:" + password, "allowed are"},
		"long":          {"a=ice-ufrag:" + strings.Repeat("a", 257), "257"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f, err := sdpfrag.Parse(test.text)
			if test.want != "" {
				require.ErrorIs(t, err, sdpfrag.ErrMalformed)
				require.ErrorContains(t, err, test.want)
				return
			}
			require.NoError(t, err)
			require.Equal(t, "abcd", f.Ufrag)
			require.Equal(t, password, f.Password)
			again, err := sdpfrag.Parse(f.String())
			require.NoError(t, err)
			require.Equal(t, f, again)
		})
	}
}

func TestReplace(t *testing.T) {
	description := "v=0\r\na=ice-ufrag:old1\r\nm=audio 9 RTP/AVP 0\r\na=ice-pwd:old\r\n" + candidate + "a=mid:0\r\n"
	require.NotContains(t, sdpfrag.WithoutCandidates(description), "candidate")
	got := sdpfrag.Replace(description, sdpfrag.Fragment{Ufrag: "new1", Password: password})
	require.Equal(t, "v=0\r\na=ice-ufrag:new1\r\nm=audio 9 RTP/AVP 0\r\na=ice-pwd:"+password+"\r\na=mid:0\r\n", got)
}

func FuzzParse(f *testing.F) {
	f.Add("a=ice-ufrag:abcd\r\na=ice-pwd:" + password + "\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n")
	f.Add("a=ice-ufrag\na=ice-pwd")
	f.Fuzz(func(t *testing.T, text string) {
		fragment, err := sdpfrag.Parse(text)
		if err != nil {
			return
		}
		again, err := sdpfrag.Parse(fragment.String())
		require.NoError(t, err)
		require.Equal(t, fragment.Ufrag, again.Ufrag)
		require.NotContains(t, sdpfrag.Replace("m=audio 9 RTP/AVP 0\r\na=ice-ufrag:old1\r\n", fragment), "old1")
	})
}
