package signaling

import (
	"net/url"
	"regexp"
	"strings"
)

// plainHost is a host and perhaps a port that can stand in a header or a policy without changing its meaning.
var plainHost = regexp.MustCompile(`^(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(?::[1-9]\d{0,4})?$`)

// Origin returns the origin of a gateway's base URL as browsers write it (RFC 6454: lower case, without the scheme's
// own port), or "" for what no client may be sent to: another scheme than https and http, or more than a host and
// a port (a final "/" aside).
func Origin(base string) string {
	u, err := url.Parse(base)
	if err != nil || u.User != nil || u.Opaque != "" || strings.Trim(u.Path, "/") != "" {
		return ""
	}
	if u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return ""
	}
	host := strings.ToLower(u.Host)
	switch u.Scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	default:
		return ""
	}
	if !plainHost.MatchString(host) {
		return ""
	}
	return u.Scheme + "://" + host
}
