// Package signaled lets the guests of a load test in as people get in: with a join token at any gateway, through the
// waiting room, over the protocol of docs/protocol.md.
package signaled

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/rs/zerolog"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/edge/client"
	"github.com/wardline/wardline/edge/load"
)

// Config is what a Door needs.
type Config struct {
	// Gateways are base URLs; each guest begins at another one.
	Gateways []string
	// TLS is used towards gateways; nil trusts the system's authorities.
	TLS *tls.Config
	// Role is that of everybody but the first of each visit, who is a provider and lets the others in.
	Role access.Role
	// RelayOnly lets media pass through relays only; otherwise it takes UDP to the server and nothing else.
	RelayOnly bool
	// Token makes a join token.
	Token func(ctx context.Context, visit, participant string, role access.Role) (string, error)
	// End ends a visit.
	End func(ctx context.Context, visit string) error
	Log zerolog.Logger
}

// Door implements load.Door.
type Door struct {
	Config
	prefix string

	mu     sync.Mutex
	opened map[string]bool // visits that somebody may have joined
}

// New returns a door to visits whose ids begin with "load-", so that operators see what they are.
func New(config Config) *Door {
	return &Door{Config: config, prefix: "load-" + strings.ToLower(rand.Text()[:idLength]), opened: make(map[string]bool)}
}

// idLength is how many random characters tell the visits of one run from others.
const idLength = 8

// Attend implements load.Door.
func (d *Door) Attend(ctx context.Context, guest *load.Guest) error {
	visit := fmt.Sprintf("%s-%d", d.prefix, guest.Visit)
	role := d.Role
	if guest.Number == 1 {
		role = access.Provider
	}
	token, err := d.Token(ctx, visit, fmt.Sprintf("guest-%d", guest.Number), role)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.opened[visit] = true
	d.mu.Unlock()
	var ended, lost string
	config := client.Config{
		Gateways: rotated(d.Gateways, guest.Visit+guest.Number), TLS: d.TLS, Token: token,
		Admit: guest.Number == 1, RelayOnly: d.RelayOnly, DirectUDP: !d.RelayOnly,
		RTT: map[string]float64{}, Packet: guest.Packet, Log: d.Log,
		Events: func(e client.Event) {
			if e.Kind == client.Ended {
				ended = e.Code
			}
			if e.Kind == client.Lost {
				lost = e.Gateway + ": " + e.Error
			}
		},
	}
	if guest.Source != nil {
		config.Publish, config.Microphone, config.Camera = true, guest.Source.Microphone, guest.Source.Camera
	}
	err = client.Run(ctx, config)
	switch {
	case ctx.Err() != nil && errors.Is(err, client.ErrNeverJoined) && lost != "":
		return fmt.Errorf("%w; the last was %s", err, lost)
	case ctx.Err() != nil && (err == nil || errors.Is(err, client.ErrNeverJoined)):
		return nil
	case err == nil:
		return fmt.Errorf("the visit ended early: %s", ended)
	default:
		return err
	}
}

// Close implements load.Door: it ends all visits.
func (d *Door) Close(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var problems []error
	for visit := range d.opened {
		if err := d.End(ctx, visit); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", visit, err))
		}
	}
	return errors.Join(problems...)
}

// rotated begins a list at another place.
func rotated(list []string, by int) []string {
	by %= len(list)
	return append(append(make([]string, 0, len(list)), list[by:]...), list[:by]...)
}
