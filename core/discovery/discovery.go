// Package discovery is what components know of each other: services and their health, maintenance
// mode, a key-value store, and a leader lock.
//
// Consul keeps it in production; Memory (one process) and Folder (several processes on one machine)
// are its twins. All pass the same conformance suite, discoverytest.
package discovery

import (
	"context"
	"errors"
)

// Errors every implementation returns, wrapped with the key or name.
var (
	// ErrNotFound says that the key, service or node does not exist.
	ErrNotFound = errors.New("not found")
	// ErrConflict says that a compare-and-set lost: somebody else changed the key first.
	ErrConflict = errors.New("changed by somebody else")
	// ErrInvalid says that a key, value, name or service is outside the documented limits.
	ErrInvalid = errors.New("invalid")
	// ErrUnavailable says that the backend cannot be reached; what was known before still holds.
	ErrUnavailable = errors.New("discovery unavailable")
)

// Names of services.
const (
	GatewayService = "wardline-gateway"
	SFUService     = "wardline-sfu"
	TURNService    = "wardline-turn"
)

// Keys of a service's Meta.
const (
	// MetaControl is the HOST:PORT of an SFU's or relay's control channel.
	MetaControl = "control"
	// MetaMedia is the HOST:PORT of an SFU's media socket.
	MetaMedia = "media"
	// MetaLoad is an SFU's participants as a share of its capacity, "0" to "1".
	MetaLoad = "load"
	// MetaTURN, MetaTURNTLS are a relay's HOST:PORT for UDP+TCP and for TLS.
	MetaTURN    = "turn"
	MetaTURNTLS = "turns"
	// MetaURL is a gateway's base URL.
	MetaURL = "url"
	// MetaInternal is the HOST:PORT where a gateway answers gateways of other regions.
	MetaInternal = "internal"
	// MetaVersion is the build.
	MetaVersion = "version"
	// MetaID is the component's own id where somebody else registers it, as Nomad does under ids of its own: the catalog
	// shows it as Service.ID and never in Service.Meta.
	MetaID = "id"
)

// Health of a service instance, worst of its checks.
type Health string

// Health states, as Consul names them.
const (
	Passing  Health = "passing"
	Warning  Health = "warning"
	Critical Health = "critical"
)

// Service is one instance of a service.
type Service struct {
	Name   string            `json:"name"`
	ID     string            `json:"id"`
	Node   string            `json:"node"`
	Region string            `json:"region"`
	Meta   map[string]string `json:"meta,omitempty"`
	Health Health            `json:"health"`
	// Maintenance is set while the instance or its node is in maintenance mode: it takes nothing new.
	Maintenance bool `json:"maintenance,omitempty"`
	// Stale is set while the instance's region, another than the own, has not answered for some 3 s: this is what was
	// known last. It is said of what was read, never registered.
	Stale bool `json:"-"`
}

// Catalog finds services. It never filters by health: only the caller knows whether it wants somewhere
// new to place work or an instance that already carries some.
type Catalog interface {
	// Services lists the instances of a service in every region, ordered by ID.
	Services(ctx context.Context, name string) ([]Service, error)
	// WatchServices sends the list now and after every change until ctx ends, then closes. A slow
	// reader misses intermediate lists, never the last one.
	WatchServices(ctx context.Context, name string) <-chan []Service
}

// Registrar announces services. In production Nomad registers them; dev and tests do it themselves.
type Registrar interface {
	// Register adds or replaces the instance with s.ID.
	Register(ctx context.Context, s Service) error
	// Deregister removes an instance; ErrNotFound if there is none.
	Deregister(ctx context.Context, name, id string) error
}

// Maintenance switches nodes in and out of maintenance mode.
type Maintenance interface {
	// SetMaintenance marks every instance on the node; reason is shown to operators. ErrNotFound if no
	// instance is known there.
	SetMaintenance(ctx context.Context, node string, on bool, reason string) error
}

// Entry is one key's value. Index only grows with each change of the key.
type Entry struct {
	Key   string
	Value []byte
	Index uint64
}

// Limits of the key-value store.
const (
	// MaxKeyBytes bounds a key. Its '/'-separated parts, at most MaxKeyParts, hold letters, digits, '.', '_' and '-'.
	MaxKeyBytes = 200
	MaxKeyParts = 16
	// MaxValueBytes bounds a value, as Consul does.
	MaxValueBytes = 512 << 10
)

// KV stores small values with compare-and-set. A key or value beyond the limits above is ErrInvalid.
type KV interface {
	// Get reads a key; ErrNotFound if it does not exist.
	Get(ctx context.Context, key string) (Entry, error)
	// CompareAndSet writes if the key's index is still the given one (0: if it does not exist) and
	// returns the new entry, otherwise ErrConflict.
	CompareAndSet(ctx context.Context, key string, value []byte, index uint64) (Entry, error)
	// Delete removes a key if its index is still the given one, otherwise ErrConflict. Deleting a key
	// that does not exist is no error.
	Delete(ctx context.Context, key string, index uint64) error
	// List returns the entries whose keys start with prefix, ordered by key.
	List(ctx context.Context, prefix string) ([]Entry, error)
	// Watch sends the entry now (if it exists) and after every change until ctx ends, then closes. A
	// deletion is sent as an Entry with a nil Value and Index 0. A slow reader misses intermediate values,
	// never the last one.
	Watch(ctx context.Context, key string) <-chan Entry
}

// Leadership is a held leader lock.
type Leadership struct {
	// Fence only grows from one leader to the next: whoever acts on it refuses a lower one.
	Fence uint64
	// Lost is closed when the lock is no longer held.
	Lost <-chan struct{}
	// Release gives the lock up and closes Lost; releasing again does nothing.
	Release func()
}

// Elector holds leader locks.
type Elector interface {
	// Campaign blocks until the lock called name is held or ctx ends. Once it is held, ctx no longer
	// matters: only Release, or losing the backend, ends it.
	Campaign(ctx context.Context, name string) (Leadership, error)
}

// Discovery is everything a backend provides; users declare the part they need.
type Discovery interface {
	Catalog
	Registrar
	Maintenance
	KV
	Elector
}
