package signaling

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOriginOfAGateway(t *testing.T) {
	for base, want := range map[string]string{
		"https://gw-1.example:8443": "https://gw-1.example:8443", "https://GW.example/": "https://gw.example",
		"https://gw.example:443": "https://gw.example", "http://127.0.0.1:80": "http://127.0.0.1",
		"http://localhost:443":       "http://localhost:443",
		"https://[2001:DB8::1]:8443": "https://[2001:db8::1]:8443",
		"":                           "", "gw.example": "", "//gw.example": "", "wss://gw.example": "", "ftp://gw.example": "",
		"https://":                 "",
		"https://gw.example/visit": "", "https://gw.example?a": "", "https://gw.example?": "", "https://gw.example#a": "",
		"https://me@gw.example": "", "https://gw.example:": "", "https://gw.example:0": "", "https://gw.example;script-src": "",
		"https://*.example": "", "https://gw example": "", "https://-gw.example": "", "https://gw.example, *": "", "https://a\nb": "",
		"https://" + strings.Repeat("a", 254): "",
	} {
		require.Equal(t, want, Origin(base), base)
	}
}

func FuzzOrigin(f *testing.F) {
	for _, seed := range []string{"https://gw-1.example:8443", "http://[::1]:80/", "https://a;b", "javascript:x", "https://a b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, base string) {
		origin := Origin(base)
		if origin == "" {
			return
		}
		require.Equal(t, origin, Origin(origin), "an origin is its own")
		require.NotRegexp(t, `[\s;,'"*]`, origin, "an origin can stand in a policy")
	})
}
