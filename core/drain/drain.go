// Package drain takes a component out of service and back in, as maintenance mode says.
//
// A Watcher looks at maintenance once a second, tells the component when to drain, and says in the key-value store
// how it goes. Node maintenance drains for as long as it is on. Service maintenance is latched once seen; it ends by
// switching node maintenance on and off again, or by writing Undrain over the component's record:
//
//	consul maint -enable -reason "patch"                               # drain, on the node itself
//	consul maint -disable                                              # undrain
//	consul kv put wardline/drain/sfu/east-media-1 '{"undrain":true}'   # undrain after service maintenance
package drain

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/wardline/wardline/core/discovery"
)

// Agent knows what is in maintenance mode on this node.
type Agent interface {
	AgentMaintenance(ctx context.Context) (discovery.AgentMaintenance, error)
}

// KV is where records are kept.
type KV interface {
	Get(ctx context.Context, key string) (discovery.Entry, error)
	CompareAndSet(ctx context.Context, key string, value []byte, index uint64) (discovery.Entry, error)
}

// Config is what a Watcher needs.
type Config struct {
	// Service and ID are the component's own, as discovery shows them.
	Service, ID string

	Agent Agent
	KV    KV
	// Set switches draining on or off. It is called on each change, never twice at once, and must not block.
	Set func(on bool)
	// Carried is what the component carries; a relay has no encounters and counts its allocations as participants.
	Carried func() (encounters, participants int)
	// Every is the time between looks at maintenance (1 s), Report that between looks at the record (3 s).
	Every, Report time.Duration
	// Registry gets wardline_draining; nil means it is not kept.
	Registry prometheus.Registerer
	Log      zerolog.Logger
}

// callTimeout bounds one call of the agent or the store.
const callTimeout = time.Second

// Watcher follows maintenance for one component. New makes one, Run runs it.
type Watcher struct {
	config Config
	// news is signaled when the record should be written before its time.
	news chan struct{}

	mu    sync.Mutex
	state state
	since time.Time

	// reporter belongs to Run.
	reporter reporter
}

// New returns a Watcher of a component that serves.
func New(config Config) (*Watcher, error) {
	if config.Service == "" || config.ID == "" || config.Agent == nil || config.KV == nil || config.Set == nil || config.Carried == nil {
		return nil, errors.New("drain watcher without Service, ID, Agent, KV, Set or Carried")
	}
	if config.Every <= 0 {
		config.Every = time.Second
	}
	if config.Report <= 0 {
		config.Report = 3 * time.Second
	}
	w := &Watcher{config: config, news: make(chan struct{}, 1), since: time.Now()}
	if config.Registry != nil {
		gauge := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "wardline", Name: "draining", Help: "1 while the component drains, otherwise 0.",
			ConstLabels: prometheus.Labels{"component": config.ID},
		}, w.gauge)
		if err := config.Registry.Register(gauge); err != nil {
			return nil, fmt.Errorf("register metric: %w", err)
		}
	}
	return w, nil
}

func (w *Watcher) gauge() float64 {
	if on, _ := w.Draining(); on {
		return 1
	}
	return 0
}

// Draining says whether the component drains, and why.
func (w *Watcher) Draining() (on bool, reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	on, _, reason = w.state.draining()
	return on, reason
}

// Leave drains for good, whatever maintenance says: the process is about to end.
func (w *Watcher) Leave(reason string) {
	w.change(func(s state) state { return s.leave(tidy(reason)) })
}

// change takes the next state and tells the component if it makes a difference.
func (w *Watcher) change(next func(state) state) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before, _, reasonBefore := w.state.draining()
	latched := w.state.latched
	w.state = next(w.state)
	on, cause, reason := w.state.draining()
	if on != before {
		w.since = time.Now()
		w.config.Log.Info().Str("service", w.config.ID).Bool("draining", on).Str("cause", cause).Msg("maintenance")
		w.config.Set(on)
	}
	if on != before || reason != reasonBefore || latched != w.state.latched {
		select {
		case w.news <- struct{}{}:
		default:
		}
	}
}

// Run follows maintenance until ctx ends. An agent or store that does not answer changes nothing.
func (w *Watcher) Run(ctx context.Context) {
	var reporting sync.WaitGroup
	reporting.Go(func() { w.report(ctx) })
	defer reporting.Wait()
	answers := true
	every(ctx, w.config.Every, nil, func() {
		err := w.look(ctx)
		if good := err == nil; good != answers && ctx.Err() == nil {
			answers = good
			w.config.Log.Warn().Err(err).Str("service", w.config.ID).Bool("answers", good).Msg("agent of the node")
		}
	})
}

// look asks the agent once.
func (w *Watcher) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	m, err := w.config.Agent.AgentMaintenance(ctx)
	if err != nil {
		return err
	}
	reason, service := m.Services[w.config.ID]
	w.change(func(s state) state {
		return s.see(sight{
			node: m.Node, nodeReason: tidy(m.Reason), service: service, serviceReason: tidy(reason),
		})
	})
	return nil
}

// every calls do now, at an interval, and when early is signaled, until ctx ends.
func every(ctx context.Context, interval time.Duration, early <-chan struct{}, do func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		do()
		select {
		case <-ticker.C:
		case <-early:
		case <-ctx.Done():
			return
		}
	}
}
