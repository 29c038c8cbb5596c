package drain_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/drain"
	"github.com/wardline/wardline/core/observe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const id = "east-media-1"

// node is an agent, and a store that fails on demand.
type node struct {
	*discovery.Memory
	mu     sync.Mutex
	seen   discovery.AgentMaintenance
	err    error
	kvErr  error
	writes int
}

func (n *node) AgentMaintenance(context.Context) (discovery.AgentMaintenance, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.seen, n.err
}

func (n *node) Get(ctx context.Context, key string) (discovery.Entry, error) {
	n.mu.Lock()
	err := n.kvErr
	n.mu.Unlock()
	if err != nil {
		return discovery.Entry{}, err
	}
	return n.Memory.Get(ctx, key)
}

func (n *node) CompareAndSet(ctx context.Context, key string, value []byte, index uint64) (discovery.Entry, error) {
	n.mu.Lock()
	n.writes++
	n.mu.Unlock()
	return n.Memory.CompareAndSet(ctx, key, value, index)
}

func (n *node) set(change func(*node)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(n)
}

// component is what a watcher drains.
type component struct {
	mu                       sync.Mutex
	calls                    []bool
	encounters, participants int
}

func (c *component) set(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, on)
}

func (c *component) carried() (encounters, participants int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.encounters, c.participants
}

func (c *component) carries(encounters, participants int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.encounters, c.participants = encounters, participants
}

// run runs a watcher until the returned function is called.
func run(t *testing.T, n *node, c *component, change ...func(*drain.Config)) (w *drain.Watcher, stop func()) {
	t.Helper()
	config := drain.Config{Service: discovery.SFUService, ID: id, Agent: n, KV: n, Set: c.set, Carried: c.carried, Log: zerolog.Nop()}
	for _, each := range change {
		each(&config)
	}
	w, err := drain.New(config)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Run(ctx)
	}()
	return w, sync.OnceFunc(func() {
		cancel()
		<-done
	})
}

func record(t *testing.T, n *node) drain.Record {
	t.Helper()
	entry, err := n.Memory.Get(t.Context(), drain.Key(discovery.SFUService, id))
	require.NoError(t, err)
	var r drain.Record
	require.NoError(t, json.Unmarshal(entry.Value, &r))
	r.Since = time.Time{}
	return r
}

// settle lets a watcher notice what changed.
func settle() {
	time.Sleep(1100 * time.Millisecond)
	synctest.Wait()
}

func TestNodeMaintenanceDrainsAndUndrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		n, c := &node{Memory: discovery.NewMemory()}, &component{encounters: 2, participants: 5}
		w, stop := run(t, n, c, func(config *drain.Config) { config.Registry = registry })
		defer stop()
		settle()
		require.Equal(t, drain.Record{State: drain.Serving, Encounters: 2, Participants: 5}, record(t, n))
		require.Empty(t, c.calls)

		n.set(func(n *node) { n.seen = discovery.AgentMaintenance{Node: true, Reason: "patch"} })
		settle()
		require.Equal(t, []bool{true}, c.calls)
		require.Equal(t, drain.Record{State: drain.Draining, Reason: "patch", Encounters: 2, Participants: 5}, record(t, n))
		on, reason := w.Draining()
		require.True(t, on)
		require.Equal(t, "patch", reason)
		require.InDelta(t, 1, gathered(t, registry), 0)

		n.set(func(n *node) { n.seen.Reason = "new disk" })
		settle()
		require.Equal(t, "new disk", record(t, n).Reason, "said at once")
		n.set(func(n *node) { n.seen.Services = map[string]string{id: "odd noises"} })
		settle()
		require.True(t, record(t, n).Latched, "said at once: the process may end at any time")
		n.set(func(n *node) { n.seen.Services = nil })

		c.carries(0, 0)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		require.Equal(t, drain.Record{State: drain.Drained, Reason: "new disk", Latched: true}, record(t, n))

		n.set(func(n *node) { n.seen = discovery.AgentMaintenance{} })
		settle()
		require.Equal(t, []bool{true, false}, c.calls)
		require.Equal(t, drain.Record{State: drain.Serving}, record(t, n))
		require.InDelta(t, 0, gathered(t, registry), 0)
	})
}

func gathered(t *testing.T, registry *prometheus.Registry) float64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	require.Len(t, families, 1)
	require.Equal(t, "wardline_draining", families[0].GetName())
	require.Equal(t, 1, testutil.CollectAndCount(registry))
	return families[0].GetMetric()[0].GetGauge().GetValue()
}

func TestServiceMaintenanceIsLatchedUntilUndrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, c := &node{Memory: discovery.NewMemory()}, &component{}
		_, stop := run(t, n, c)
		n.set(func(n *node) {
			n.seen = discovery.AgentMaintenance{Services: map[string]string{id: "odd noises", "other": "x"}}
		})
		settle()
		n.set(func(n *node) { n.seen = discovery.AgentMaintenance{} })
		settle()
		require.Equal(t, []bool{true}, c.calls, "Nomad registered it again: that is no undrain")
		require.Equal(t, drain.Record{State: drain.Drained, Reason: "odd noises", Latched: true}, record(t, n))
		stop()

		successor := &component{}
		_, stop = run(t, n, successor)
		defer stop()
		settle()
		require.Equal(t, []bool{true}, successor.calls, "a new process of the component drains on")

		entry, err := n.Memory.Get(t.Context(), drain.Key(discovery.SFUService, id))
		require.NoError(t, err)
		_, err = n.Memory.CompareAndSet(t.Context(), drain.Key(discovery.SFUService, id), []byte(drain.Undrain), entry.Index)
		require.NoError(t, err)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		require.Equal(t, []bool{true, false}, successor.calls)
		require.Equal(t, drain.Record{State: drain.Serving}, record(t, n))
	})
}

func TestNodeMaintenanceOnAndOffEndsALatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, c := &node{Memory: discovery.NewMemory()}, &component{}
		_, stop := run(t, n, c)
		defer stop()
		for _, seen := range []discovery.AgentMaintenance{{Services: map[string]string{id: "odd noises"}}, {}, {Node: true}, {}} {
			n.set(func(n *node) { n.seen = seen })
			settle()
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		require.Equal(t, []bool{true, false}, c.calls, "its own record of the latch must not bring it back")
		require.Equal(t, drain.Record{State: drain.Serving}, record(t, n))
	})
}

func TestServiceMaintenanceOfAnotherDrainsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, c := &node{Memory: discovery.NewMemory()}, &component{}
		_, stop := run(t, n, c)
		defer stop()
		n.set(func(n *node) {
			n.seen = discovery.AgentMaintenance{Services: map[string]string{"east-turn-1": "odd noises"}}
		})
		settle()
		require.Empty(t, c.calls)
	})
}

func TestAgentOutOfReachChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, c := &node{Memory: discovery.NewMemory()}, &component{}
		_, stop := run(t, n, c)
		defer stop()
		n.set(func(n *node) { n.seen = discovery.AgentMaintenance{Node: true} })
		settle()
		n.set(func(n *node) { n.seen, n.err = discovery.AgentMaintenance{}, discovery.ErrUnavailable })
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, []bool{true}, c.calls)
		n.set(func(n *node) { n.err = nil })
		settle()
		require.Equal(t, []bool{true, false}, c.calls)
	})
}

func TestStoreOutOfReachDelaysNoDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, c := &node{Memory: discovery.NewMemory(), kvErr: errors.New("no leader")}, &component{}
		_, stop := run(t, n, c)
		defer stop()
		n.set(func(n *node) { n.seen = discovery.AgentMaintenance{Node: true, Reason: "patch"} })
		settle()
		require.Equal(t, []bool{true}, c.calls)
		n.set(func(n *node) { n.kvErr = nil })
		time.Sleep(3 * time.Second)
		synctest.Wait()
		require.Equal(t, drain.Record{State: drain.Drained, Reason: "patch"}, record(t, n))
	})
}

func TestLeavingIsForGoodAndSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, c := &node{Memory: discovery.NewMemory()}, &component{encounters: 1, participants: 2}
		w, stop := run(t, n, c)
		settle()
		w.Leave("stopping")
		w.Leave("stopping")
		n.set(func(n *node) { n.seen = discovery.AgentMaintenance{Node: true} })
		settle()
		n.set(func(n *node) { n.seen = discovery.AgentMaintenance{} })
		settle()
		require.Equal(t, []bool{true}, c.calls)
		require.Equal(t, drain.Record{State: drain.Draining, Reason: "stopping", Encounters: 1, Participants: 2}, record(t, n))
		c.carries(0, 2) // as a relay, which counts its allocations so
		time.Sleep(3 * time.Second)
		settle()
		require.Equal(t, drain.Record{State: drain.Draining, Reason: "stopping", Participants: 2}, record(t, n))
		c.carries(0, 0)
		stop()
		require.Equal(t, drain.Record{State: drain.Drained, Reason: "stopping"}, record(t, n), "the last word")

		successor := &component{}
		_, stop = run(t, n, successor)
		defer stop()
		settle()
		require.Equal(t, drain.Record{State: drain.Serving}, record(t, n))
		require.Empty(t, successor.calls)
	})
}

// TestLogLinesNameTheProcessOnce is of log stores that take the last of two members of one name, or refuse such a line.
func TestLogLinesNameTheProcessOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, c := &node{Memory: discovery.NewMemory(), kvErr: errors.New("no leader")}, &component{}
		var lines bytes.Buffer
		log, err := observe.Logger(zerolog.SyncWriter(&lines), "sfu", "info") // what it looks at logs too
		require.NoError(t, err)
		_, stop := run(t, n, c, func(c *drain.Config) { c.Log = log })
		n.set(func(n *node) { n.seen = discovery.AgentMaintenance{Node: true} })
		settle()
		n.set(func(n *node) { n.err = discovery.ErrUnavailable })
		settle()
		stop()
		require.Contains(t, lines.String(), `"draining":true`)
		for line := range strings.Lines(lines.String()) {
			require.Equal(t, 1, strings.Count(line, `"component":`), line)
			require.Contains(t, line, `"component":"sfu"`)
			require.Contains(t, line, `"service":"`+id+`"`)
		}
	})
}

func TestRecordIsWrittenOnlyWhenItChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, c := &node{Memory: discovery.NewMemory()}, &component{}
		_, stop := run(t, n, c)
		defer stop()
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Equal(t, 1, n.writes)
		for i := range 60 { // somebody comes or goes every second
			c.carries(1, i)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		require.LessOrEqual(t, n.writes, 1+60/3+1)
	})
}

func TestRubbishInTheStoreIsOverwritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, c := &node{Memory: discovery.NewMemory()}, &component{}
		_, err := n.Memory.CompareAndSet(t.Context(), drain.Key(discovery.SFUService, id), []byte("rubbish"), 0)
		require.NoError(t, err)
		_, stop := run(t, n, c)
		defer stop()
		settle()
		require.Equal(t, drain.Record{State: drain.Serving}, record(t, n))
	})
}

// TestTwinsDrain holds the catalog of the local twins to what an agent does.
func TestTwinsDrain(t *testing.T) {
	folder, err := discovery.OpenFolder(filepath.Join(t.TempDir(), "discovery"))
	require.NoError(t, err)
	defer func() { require.NoError(t, folder.Close()) }()
	for name, twin := range map[string]interface {
		discovery.Catalog
		discovery.Registrar
		discovery.Maintenance
	}{"memory": discovery.NewMemory(), "folder": folder} {
		t.Run(name, func(t *testing.T) {
			agent := drain.CatalogAgent{Catalog: twin, Service: discovery.SFUService, ID: id}
			_, err := agent.AgentMaintenance(t.Context())
			require.ErrorIs(t, err, discovery.ErrNotFound)
			require.NoError(t, twin.Register(t.Context(), discovery.Service{
				Name: discovery.SFUService, ID: id, Node: "media-1", Region: "east", Health: discovery.Passing,
			}))
			for _, on := range []bool{false, true, false} {
				require.NoError(t, twin.SetMaintenance(t.Context(), "media-1", on, "patch"))
				seen, err := agent.AgentMaintenance(t.Context())
				require.NoError(t, err)
				require.Equal(t, on, seen.Node)
			}
		})
	}
}

func TestIncompleteConfigurationIsRefused(t *testing.T) {
	_, err := drain.New(drain.Config{ID: id})
	require.ErrorContains(t, err, "Agent")
	n, c, registry := &node{Memory: discovery.NewMemory()}, &component{}, prometheus.NewRegistry()
	config := drain.Config{Service: discovery.SFUService, ID: id, Agent: n, KV: n, Set: c.set, Carried: c.carried, Registry: registry}
	_, err = drain.New(config)
	require.NoError(t, err)
	_, err = drain.New(config)
	require.ErrorContains(t, err, "metric")
}
