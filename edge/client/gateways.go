package client

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// backoffs are the waits before the rounds over all gateways; the first round is made at once.
var backoffs = []time.Duration{0, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second}

// maxGateways bounds how many gateways are kept.
const maxGateways = 32

// gateways are the base URLs a participant can connect to and which of them is next. Pure.
type gateways struct {
	given    []string // by the configuration
	order    []string // all, the one in use first
	at       int      // the one being tried
	attempts int      // failed ones since the last welcome
}

func newGateways(given []string) gateways {
	return gateways{given: given, order: slices.Clone(given)}
}

// current is the gateway in use or being tried.
func (g *gateways) current() string { return g.order[g.at] }

// welcomed makes the current gateway the first, followed by those it told, best first, and those of the
// configuration that it did not tell.
func (g *gateways) welcomed(told []string) {
	g.attempts = 0
	g.learn(told)
}

// learn takes a new list of gateways while the current one stays in use. A gateway that tells none changes nothing.
func (g *gateways) learn(told []string) {
	if len(told) == 0 {
		told = g.order
	}
	order := []string{g.current()}
	for _, each := range slices.Concat(told, g.given) {
		each, err := baseURL(each)
		if err == nil && !slices.Contains(order, each) && len(order) < maxGateways {
			order = append(order, each)
		}
	}
	g.order, g.at = order, 0
}

// lost goes on to the next gateway and returns how long to wait before trying it: not at all within the first
// round, then longer each round, changed by up to a quarter by random (0 to 1).
func (g *gateways) lost(random float64) time.Duration {
	g.at = (g.at + 1) % len(g.order)
	g.attempts++
	// The attempt that follows the loss of a gateway that worked belongs to the first round, like all others' first.
	round := (g.attempts - 1) / len(g.order)
	step := backoffs[min(round, len(backoffs)-1)]
	return time.Duration(float64(step) * (0.75 + random/2))
}

// roundOver reports whether all gateways have been tried since the last welcome.
func (g *gateways) roundOver() bool { return g.attempts >= len(g.order) }

// baseURL checks a gateway's base URL and takes off what follows the host and port.
func baseURL(text string) (string, error) {
	parsed, err := url.Parse(text)
	if err != nil || parsed.Host == "" || (parsed.Scheme != "http" && parsed.Scheme != "https") {
		return "", fmt.Errorf("gateway %.100q: must be https://HOST:PORT", text)
	}
	if parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "" || strings.Trim(parsed.Path, "/") != "" {
		return "", fmt.Errorf("gateway at %.100q: must be https://HOST:PORT without anything after it", parsed.Host)
	}
	return parsed.Scheme + "://" + strings.ToLower(parsed.Host), nil
}

// isLoopback reports whether a base URL names this machine.
func isLoopback(base string) bool {
	parsed, err := url.Parse(base)
	if err != nil {
		return false
	}
	address, err := netip.ParseAddr(parsed.Hostname())
	return parsed.Hostname() == "localhost" || err == nil && address.IsLoopback()
}
