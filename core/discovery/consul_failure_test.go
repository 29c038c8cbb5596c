package discovery

import (
	"context"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// consulQuickPace is a pace at which a real agent's failures can be waited for.
var consulQuickPace = func() consulPace {
	p := consulNormalPace
	p.request, p.local, p.list = time.Second, time.Second, time.Second
	p.retryMax = 200 * time.Millisecond
	p.regions, p.pulse, p.silent = 300*time.Millisecond, 200*time.Millisecond, time.Second
	p.beat, p.ttl = 200*time.Millisecond, 2*time.Second
	return p
}()

// awaitServices reads a watch until the list is as wanted.
func awaitServices(t *testing.T, watch <-chan []Service, done func([]Service) bool) []Service {
	t.Helper()
	for {
		if list := next(t, watch); done(list) {
			return list
		}
	}
}

func only(id string) func([]Service) bool {
	return func(list []Service) bool { return len(list) == 1 && list[0].ID == id && list[0].Health == Passing }
}

func TestConsulAgentKilledAndBack(t *testing.T) {
	t.Parallel()
	agent := startConsul(t)
	c := agent.client(t, consulQuickPace)
	entry, err := c.CompareAndSet(t.Context(), "key", []byte("before"), 0)
	require.NoError(t, err)
	require.NoError(t, c.Register(t.Context(), agent.service("sfu-1")))
	key, services := c.Watch(t.Context(), "key"), c.WatchServices(t.Context(), SFUService)
	require.Equal(t, entry, next(t, key))
	known := awaitServices(t, services, only("sfu-1"))

	agent.Kill()
	began := time.Now()
	_, err = c.Get(t.Context(), "key")
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorIs(t, c.Ready(t.Context()), ErrUnavailable)
	require.Less(t, time.Since(began), 10*time.Second)
	list, err := c.Services(t.Context(), SFUService)
	require.NoError(t, err)
	require.Equal(t, known, list, "the last good answer")
	_, err = c.Services(t.Context(), TURNService)
	require.ErrorIs(t, err, ErrUnavailable, "nothing was ever known of it")
	require.Empty(t, key)
	require.Empty(t, services)

	agent.Restart(t)
	entry, err = c.CompareAndSet(t.Context(), "key", []byte("after"), entry.Index)
	require.NoError(t, err)
	require.Equal(t, entry, next(t, key), "the watch goes on")
	require.NoError(t, c.Register(t.Context(), agent.service("sfu-2")))
	awaitServices(t, services, func(list []Service) bool {
		return len(list) == 2 && list[0].Health == Passing && list[1].Health == Passing
	})
}

func TestConsulAgentSuspended(t *testing.T) {
	t.Parallel()
	agent := startConsul(t)
	c := agent.client(t, consulQuickPace)
	entry, err := c.CompareAndSet(t.Context(), "key", []byte("before"), 0)
	require.NoError(t, err)
	require.NoError(t, c.Register(t.Context(), agent.service("sfu-1")))
	key := c.Watch(t.Context(), "key")
	require.Equal(t, entry, next(t, key))
	require.Eventually(t, func() bool {
		list, err := c.Services(t.Context(), SFUService)
		return err == nil && only("sfu-1")(list)
	}, patience, tick)
	leadership, err := c.Campaign(t.Context(), "lock")
	require.NoError(t, err)

	agent.Suspend(t)
	since := time.Now()
	cancelled, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = c.Get(cancelled, "key")
	require.ErrorIs(t, err, context.DeadlineExceeded, "the caller's own deadline counts")
	for what, call := range map[string]func() error{
		"get":         func() error { _, err := c.Get(t.Context(), "key"); return err },
		"set":         func() error { _, err := c.CompareAndSet(t.Context(), "key", nil, 7); return err },
		"delete":      func() error { return c.Delete(t.Context(), "key", 7) },
		"list":        func() error { _, err := c.List(t.Context(), "k"); return err },
		"register":    func() error { return c.Register(t.Context(), agent.service("sfu-2")) },
		"maintenance": func() error { return c.SetMaintenance(t.Context(), agent.Node, true, "patch") },
		"ready":       func() error { return c.Ready(t.Context()) },
	} {
		began := time.Now()
		require.ErrorIs(t, call(), ErrUnavailable, what)
		require.Less(t, time.Since(began), 5*time.Second, what)
	}
	list, err := c.Services(t.Context(), SFUService)
	require.NoError(t, err)
	require.True(t, only("sfu-1")(list), "the last good answer")
	select {
	case <-leadership.Lost:
		require.Less(t, time.Since(since), consulNormalPace.lock+2*time.Second, "lost before anybody else can lead")
	case <-time.After(patience):
		require.FailNow(t, "a leader that cannot renew its session goes on")
	}

	agent.Signal(t, syscall.SIGCONT)
	require.Eventually(t, func() bool { return c.Ready(t.Context()) == nil }, patience, tick)
	require.Eventually(t, func() bool {
		entry, err = c.CompareAndSet(t.Context(), "key", []byte("after"), entry.Index)
		return err == nil
	}, patience, tick)
	require.Equal(t, entry, next(t, key), "the watch goes on")
	leadership.Release()
}

func TestConsulLeadershipLost(t *testing.T) {
	t.Parallel()
	agent := startConsul(t)
	a, b := agent.client(t, consulQuickPace), agent.client(t, consulQuickPace)
	for what, end := range map[string]func(t *testing.T){
		"its session is destroyed": func(t *testing.T) {
			t.Helper()
			pair, _, err := a.api.KV().Get(leaderPrefix+"lock", nil)
			require.NoError(t, err)
			_, err = a.api.Session().Destroy(pair.Session, nil)
			require.NoError(t, err)
		},
		"the key is deleted": func(t *testing.T) {
			t.Helper()
			_, err := a.api.KV().Delete(leaderPrefix+"lock", nil)
			require.NoError(t, err)
		},
	} {
		first, err := a.Campaign(t.Context(), "lock")
		require.NoError(t, err, what)
		won := make(chan Leadership, 1)
		go func() {
			second, err := b.Campaign(t.Context(), "lock")
			if err == nil {
				won <- second
			}
		}()
		end(t)
		<-first.Lost
		second := next(t, won)
		require.Greater(t, second.Fence, first.Fence, what)
		first.Release()
		second.Release()
	}
	last, err := a.Campaign(t.Context(), "lock")
	require.NoError(t, err)
	require.NoError(t, a.Close())
	<-last.Lost
	_, err = a.Campaign(t.Context(), "lock")
	require.ErrorIs(t, err, ErrUnavailable, "closed")
	next, err := b.Campaign(t.Context(), "lock")
	require.NoError(t, err, "closing gives locks up")
	next.Release()
}

func TestConsulProcessKilled(t *testing.T) {
	t.Parallel()
	agent := startConsul(t)
	victim, witness := agent.client(t, consulQuickPace), agent.client(t, consulQuickPace)
	require.NoError(t, victim.Register(t.Context(), agent.service("sfu-1")))
	services := witness.WatchServices(t.Context(), SFUService)
	awaitServices(t, services, only("sfu-1"))
	victim.stop() // as a kill does, without any farewell
	awaitServices(t, services, func(list []Service) bool { return len(list) == 1 && list[0].Health == Critical })

	require.NoError(t, witness.Register(t.Context(), agent.service("sfu-2")))
	_, err := witness.api.Raw().Write("/v1/agent/service/deregister/sfu-2", nil, nil, nil)
	require.NoError(t, err)
	awaitServices(t, services, func(list []Service) bool { // the agent forgot it, its process did not
		return len(list) == 2 && list[1].ID == "sfu-2" && list[1].Health == Passing
	})
	require.NoError(t, witness.Close())
	third := agent.client(t, consulQuickPace)
	awaitServices(t, third.WatchServices(t.Context(), SFUService), func(list []Service) bool {
		return len(list) == 1 && list[0].ID == "sfu-1"
	})
}

func TestConsulAgentMaintenance(t *testing.T) {
	t.Parallel()
	agent := startConsul(t)
	c := agent.client(t, consulQuickPace)
	require.NoError(t, c.Register(t.Context(), agent.service("sfu-1")))
	require.NoError(t, c.Register(t.Context(), agent.service("sfu-2")))
	services := c.WatchServices(t.Context(), SFUService)
	maintained := func(first, second bool) func([]Service) bool {
		return func(list []Service) bool {
			return len(list) == 2 && list[0].Maintenance == first && list[1].Maintenance == second &&
				list[0].Health == Passing && list[1].Health == Passing
		}
	}
	awaitServices(t, services, maintained(false, false))
	state, err := c.AgentMaintenance(t.Context())
	require.NoError(t, err)
	require.Equal(t, AgentMaintenance{Services: map[string]string{}}, state)

	require.NoError(t, c.SetServiceMaintenance(t.Context(), "sfu-2", true, "odd noise"))
	awaitServices(t, services, maintained(false, true))
	require.NoError(t, c.SetMaintenance(t.Context(), agent.Node, true, "patch & reboot"))
	awaitServices(t, services, maintained(true, true))
	state, err = c.AgentMaintenance(t.Context())
	require.NoError(t, err)
	require.Equal(t, AgentMaintenance{
		Node: true, Reason: "patch & reboot", Services: map[string]string{"sfu-2": "odd noise"},
	}, state)
	require.NoError(t, c.SetServiceMaintenance(t.Context(), "sfu-2", false, ""))
	require.NoError(t, c.SetMaintenance(t.Context(), agent.Node, false, ""))
	awaitServices(t, services, maintained(false, false))

	require.ErrorIs(t, c.SetServiceMaintenance(t.Context(), "sfu-3", true, ""), ErrNotFound)
	require.ErrorIs(t, c.SetServiceMaintenance(t.Context(), "../x", true, ""), ErrInvalid)
}

func TestConsulRefusesTokens(t *testing.T) {
	t.Parallel()
	agent := startConsul(t)
	good := agent.client(t, consulQuickPace)
	require.NoError(t, good.Register(t.Context(), agent.service("sfu-1")))
	awaitServices(t, good.WatchServices(t.Context(), SFUService), only("sfu-1"))

	file := agent.File("token")
	require.NoError(t, os.WriteFile(file, []byte("deadbeef-0000-0000-0000-000000000000\n"), 0o600))
	config := agent.config()
	config.Tokens = NewConsulTokenFile(file, nil)
	c, err := newConsul(config, consulQuickPace)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	c.self = consulSelf{agent.Node, agent.Datacenter}
	services := c.WatchServices(t.Context(), SFUService)
	_, err = c.Services(t.Context(), SFUService)
	require.ErrorIs(t, err, ErrUnavailable)
	_, err = c.Get(t.Context(), "key")
	require.ErrorIs(t, err, ErrUnavailable)
	require.NotContains(t, err.Error(), "deadbeef")
	_, err = c.CompareAndSet(t.Context(), "key", nil, 0)
	require.ErrorIs(t, err, ErrUnavailable)

	require.NoError(t, os.WriteFile(file, []byte(agent.Token), 0o600))
	require.True(t, only("sfu-1")(next(t, services)), "an empty list was never sent; a new token is picked up")

	config.Tokens = nil
	anonymous, err := newConsul(config, consulQuickPace)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, anonymous.Close()) })
	anonymous.self = c.self
	_, err = anonymous.Services(t.Context(), SFUService)
	require.ErrorIs(t, err, ErrUnavailable, "what the token may not see is not gone")
	_, err = anonymous.List(t.Context(), "wardline/")
	require.ErrorIs(t, err, ErrUnavailable)
}

func TestConsulRegions(t *testing.T) {
	t.Parallel()
	here := startConsul(t)
	there := here.federate(t)
	config := here.config()
	config.AgentPort = there.Port
	c, err := newConsul(config, consulQuickPace)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	far := there.client(t, consulQuickPace)
	require.Eventually(t, func() bool {
		all, err := c.Regions(t.Context())
		return err == nil && len(all) == 2
	}, patience, tick)
	services := c.WatchServices(t.Context(), SFUService)
	require.NoError(t, c.Register(t.Context(), here.service("sfu-1")))
	require.NoError(t, far.Register(t.Context(), there.service("sfu-2")))
	both := awaitServices(t, services, func(list []Service) bool {
		return len(list) == 2 && list[0].Health == Passing && list[1].Health == Passing
	})
	require.Equal(t, []string{"eu-test", "us-test"}, []string{both[0].Region, both[1].Region})
	require.Eventually(t, func() bool {
		list, err := c.Services(t.Context(), SFUService)
		return err == nil && sameServices(list, both)
	}, patience, tick)

	entry, err := far.CompareAndSet(t.Context(), "key", []byte("far"), 0)
	require.NoError(t, err)
	require.Equal(t, entry, next(t, c.KV("us-test").Watch(t.Context(), "key")))
	_, err = c.Get(t.Context(), "key")
	require.ErrorIs(t, err, ErrNotFound, "each region has its own keys")

	require.NoError(t, c.SetMaintenance(t.Context(), there.Node, true, "patch"), "on the other node's own agent")
	state, err := far.AgentMaintenance(t.Context())
	require.NoError(t, err)
	require.True(t, state.Node)
	awaitServices(t, services, func(list []Service) bool { return len(list) == 2 && list[1].Maintenance })
	require.NoError(t, far.SetMaintenance(t.Context(), there.Node, false, ""))
	awaitServices(t, services, func(list []Service) bool { return len(list) == 2 && !list[1].Maintenance })

	there.Kill()
	require.Eventually(t, func() bool {
		_, err := c.KV("us-test").Get(t.Context(), "key")
		return err != nil
	}, patience, tick)
	_, err = c.KV("us-test").Get(t.Context(), "key")
	require.ErrorIs(t, err, ErrUnavailable)
	began := time.Now()
	list, err := c.Services(t.Context(), SFUService)
	require.NoError(t, err)
	require.Len(t, list, 2, "the lost region's last good answer")
	require.Less(t, time.Since(began), 3*time.Second)
	require.NoError(t, c.Register(t.Context(), here.service("sfu-4")))
	awaitServices(t, services, func(list []Service) bool { return len(list) == 3 })

	here.Kill()
	here.Restart(t)
	require.Eventually(t, func() bool { return c.Ready(t.Context()) == nil }, patience, tick)
	listed, err := c.api.Catalog().Datacenters()
	require.NoError(t, err)
	require.Equal(t, []string{"eu-test"}, listed, "own servers that are back know nothing of the lost region")
	require.Eventually(t, func() bool { _, err := c.readRegions(t.Context()); return err == nil }, patience, tick)
	list, err = c.Services(t.Context(), SFUService)
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(list, func(s Service) bool { return s.ID == "sfu-2" && s.Stale }), "and yet it may only be away")
}

func TestConsulRefusesOtherAgentsNodes(t *testing.T) {
	t.Parallel()
	agent := startConsul(t)
	c := agent.client(t, consulQuickPace)
	c.self = consulSelf{"somewhere-else", agent.Datacenter}
	require.ErrorIs(t, c.Register(t.Context(), agent.service("sfu-1")), ErrInvalid)
}
