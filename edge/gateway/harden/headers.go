// Package harden is what stands around every HTTP handler of the gateway: security headers, limits,
// timeouts, and a request log that survives a panic and never sees a query or a token.
package harden

import (
	"net/http"
	"regexp"
	"strings"
)

// permissions lets our own page use camera, microphone and screen, and nothing else use anything.
var permissions = strings.Join([]string{
	"camera=(self)", "microphone=(self)", "display-capture=(self)", "speaker-selection=(self)", "fullscreen=(self)",
	"autoplay=(self)", "screen-wake-lock=(self)", "picture-in-picture=(self)",
	"geolocation=()", "payment=()", "usb=()", "serial=()", "hid=()", "midi=()",
	"accelerometer=()", "gyroscope=()", "magnetometer=()", "browsing-topics=()",
}, ", ")

// plainHost is a Host that can stand in a policy without changing its meaning.
var plainHost = regexp.MustCompile(`^(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$`)

// Origins lists further origins (scheme, host and perhaps port) that our pages may connect to, now. nil means none.
type Origins func() []string

// Headers sets the security headers on every response. Responses are not to be stored unless the handler
// says otherwise; hsts is for servers that speak TLS.
func Headers(hsts bool, others Origins, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", contentPolicy(r.Host, hsts, others))
		header.Set("Permissions-Policy", permissions)
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Cache-Control", "no-store")
		if hsts {
			header.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
		}
		next.ServeHTTP(w, r)
	})
}

// contentPolicy allows our own files and sockets: no inline script, no third party. The socket's origin
// is spelled out for browsers whose 'self' does not cover it, and those of other origins for browsers whose https
// does not cover wss.
func contentPolicy(host string, tls bool, others Origins) string {
	connect := "connect-src 'self'"
	if plainHost.MatchString(host) {
		scheme := "ws://"
		if tls {
			scheme = "wss://"
		}
		connect += " " + scheme + host
	}
	if others != nil {
		for _, origin := range others() {
			connect += sources(origin)
		}
	}
	return strings.Join([]string{
		"default-src 'none'", "script-src 'self'", "style-src 'self'", connect, "img-src 'self' data: blob:",
		"media-src 'self' blob:", "worker-src 'self'", "font-src 'self'", "manifest-src 'self'",
		"frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'",
	}, "; ")
}

// sources are an origin's entries in connect-src, for requests and for sockets; nothing for what is no plain origin.
func sources(origin string) string {
	scheme, host, _ := strings.Cut(origin, "://")
	if !plainHost.MatchString(host) {
		return ""
	}
	switch scheme {
	case "https":
		return " https://" + host + " wss://" + host
	case "http":
		return " http://" + host + " ws://" + host
	default:
		return ""
	}
}
