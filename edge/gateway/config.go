// Package gateway is what browsers, tenants' applications and WHIP or WHEP tools connect to: signaling,
// the waiting room, the tenant API and the pages.
//
// Gateways keep nothing that another gateway could not read in the encounter's record: any of them
// serves anyone, and losing one loses no visit. Media does not pass them.
package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway/api"
)

// Keeper is what a gateway needs of a secrets.Keeper.
type Keeper interface {
	access.Signer
	access.KeySource
	// Shared returns the TURN and the roster secret.
	Shared(ctx context.Context, name string) (secrets.Shared, error)
}

// Config is what a gateway needs. Durations left zero have the protocol's values.
type Config struct {
	// ID is the service id, Region where it runs, Version its build.
	ID, Region, Version string
	// Listener takes the HTTP connections; the server closes it.
	Listener net.Listener
	// TLS is what the HTTP server presents; nil is plain HTTP, for loopback only.
	TLS *tls.Config
	// PublicURL starts join links: scheme, host and port.
	PublicURL string
	// Web serves the pages; nil serves none.
	Web http.Handler

	Store   encounter.Store
	KV      api.KV
	Catalog discovery.Catalog
	Keeper  Keeper
	// Tenants knows the registered keys of tenants.
	Tenants access.TenantKeys
	// ControlTLS presents the gateway to SFUs and accepts nobody else.
	ControlTLS *tls.Config
	// RelayTLS presents the gateway to relays and accepts nobody else.
	RelayTLS *tls.Config
	// Internal is for gateways of other regions, each of which has secrets of its own; nil where all regions have the
	// same.
	Internal *Internal
	// AutoAdmit switches the waiting room off.
	AutoAdmit bool
	Registry  prometheus.Registerer
	Log       zerolog.Logger

	// MaxEncounters bounds a tenant's records in a region (50,000), those of encounters that are over included while they are kept.
	MaxEncounters int
	// MaxUnjoinedPerAddress bounds the sockets of one address without a good token (256), as maxUnjoined does all. Beyond
	// them the one that waited longest is closed.
	MaxUnjoinedPerAddress int
	// MaxConnectionsPerAddress bounds the HTTP connections of one address that are open (1,024), as maxConnections does
	// all. Beyond them the one that did nothing for longest is closed.
	MaxConnectionsPerAddress int
	// JoinTimeout is how long a socket may take to present its token (5 s).
	JoinTimeout time.Duration
	// PingEvery is how often clients ping (1 s); one silent for nine times that is lost.
	PingEvery time.Duration
	// ResumeGrace is how long a lost session can be resumed (30 s).
	ResumeGrace time.Duration
	// Linger bounds the last message to a client (1 s).
	Linger time.Duration
	// PlaceRetry is the pause after a placement that failed (1 s), MoveRetry after a move away from a draining SFU (5 s).
	PlaceRetry, MoveRetry time.Duration
	// MoveSpread is how long it takes until all encounters of a draining SFU are on the move (2 s).
	MoveSpread time.Duration
	// AttachTimeout is how long an SFU may take to accept a leg over a channel that is up (2 s); after two in a row
	// the encounter goes to another one.
	AttachTimeout time.Duration
	// OpenTimeout bounds the answer to a WHIP or WHEP offer (8 s).
	OpenTimeout time.Duration
	// SweepEvery is how often the records of gateways that vanished are looked for (5 s).
	SweepEvery time.Duration
	// KeepEnded is how long the record of an ended encounter stays, so that its tokens cannot bring it to
	// life again: longer than any of them is accepted (72 h). One that everybody left and nobody ended stays as long.
	KeepEnded time.Duration
}

// DefaultMaxEncounters is what a tenant may have unless told otherwise: three days of a group that has 16,000 visits a day.
const DefaultMaxEncounters = 50_000

const (
	// maxUnjoined and maxConnections are of all addresses together.
	maxUnjoined, maxConnections = 2048, 4096
	// writeTimeout bounds one message to a client.
	writeTimeout = 5 * time.Second
	// storeTimeout bounds one change of a record, placeTimeout one placement.
	storeTimeout, placeTimeout = 5 * time.Second, 10 * time.Second
)

// Internal is how gateways of different regions reach each other.
type Internal struct {
	// Listener takes their connections; the server closes it.
	Listener net.Listener
	// Server and Client present this gateway and accept gateways only.
	Server, Client *tls.Config
}

func (c Config) withDefaults() Config {
	for value, fallback := range map[*time.Duration]time.Duration{
		&c.JoinTimeout: 5 * time.Second, &c.PingEvery: time.Second,
		&c.ResumeGrace: signaling.OrphanMs * time.Millisecond, &c.Linger: lingerFor,
		&c.PlaceRetry: time.Second, &c.MoveRetry: 5 * time.Second, &c.MoveSpread: 2 * time.Second,
		&c.OpenTimeout: 8 * time.Second, &c.SweepEvery: 5 * time.Second,
		&c.KeepEnded:     3 * access.MaxTokenTTL,
		&c.AttachTimeout: 2 * time.Second,
	} {
		if *value <= 0 {
			*value = fallback
		}
	}
	for value, fallback := range map[*int]int{
		&c.MaxEncounters: DefaultMaxEncounters, &c.MaxUnjoinedPerAddress: 256, &c.MaxConnectionsPerAddress: 1024,
	} {
		if *value <= 0 {
			*value = fallback
		}
	}
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	if c.Store != nil {
		c.Store = encounter.Gather(encounter.Quota(c.Store, c.MaxEncounters, c.KeepEnded))
	}
	return c
}

// check reports the first thing without which a gateway cannot work.
func (c Config) check() error {
	if !signaling.ValidID(c.ID) {
		return fmt.Errorf("gateway id %.70q: must be 1 to 64 letters, digits, '.', '_' or '-'", c.ID)
	}
	for name, missing := range map[string]bool{
		"listener": c.Listener == nil, "store": c.Store == nil, "key-value store": c.KV == nil, "catalog": c.Catalog == nil,
		"keeper": c.Keeper == nil, "tenant keys": c.Tenants == nil, "control TLS": c.ControlTLS == nil,
		"relay TLS": c.RelayTLS == nil,
	} {
		if missing {
			return errors.New("gateway: no " + name + " configured")
		}
	}
	return nil
}
