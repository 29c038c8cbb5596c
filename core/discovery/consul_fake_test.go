package discovery

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/observe/observetest"
)

// fakePace makes a fake agent's failures short.
var fakePace = func() consulPace {
	p := consulNormalPace
	p.request, p.remote, p.wait, p.regions = 300*time.Millisecond, 100*time.Millisecond, 5*time.Second, 50*time.Millisecond
	p.local, p.pulse, p.silent = p.request, 50*time.Millisecond, 150*time.Millisecond
	p.hedge, p.connect = 50*time.Millisecond, 50*time.Millisecond
	p.first, p.retry, p.retryMax, p.every = 100*time.Millisecond, 5*time.Millisecond, 20*time.Millisecond, 20*time.Millisecond
	return p
}()

// fakeAgent answers as the handler does, and as a healthy agent about itself.
func fakeAgent(t *testing.T, handler http.HandlerFunc) *Consul {
	t.Helper()
	return fakeAgentAt(t, fakePace, handler)
}

func fakeAgentAt(t *testing.T, pace consulPace, handler http.HandlerFunc) *Consul {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/", handler)
	mux.HandleFunc("/v1/agent/self", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"Config":{"NodeName":"agent-1","Datacenter":"eu"}}`)
	})
	mux.HandleFunc("/v1/catalog/datacenters", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `["us","eu"]`) })
	server := httptest.NewServer(mux)
	c, err := newConsul(ConsulConfig{Address: server.URL}, pace)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, c.Close())
		server.CloseClientConnections()
		server.Close()
	})
	return c
}

func answerKey(w http.ResponseWriter, index int, value string) {
	w.Header().Set("X-Consul-Index", strconv.Itoa(index))
	fmt.Fprintf(w, `[{"Key":"key","Value":%q,"ModifyIndex":%d}]`, base64.StdEncoding.EncodeToString([]byte(value)), index)
}

// hang answers nothing until the client gives up.
func hang(r *http.Request) { <-r.Context().Done() }

func TestCursor(t *testing.T) {
	const rest, most = 100 * time.Millisecond, time.Second
	for _, test := range []struct {
		name  string
		known uint64
		index uint64
		news  bool
		next  uint64
	}{
		{"the first answer is news", 0, 7, true, 7},
		{"a higher index is news", 7, 8, true, 8},
		{"a wait that ended without a change is not", 7, 7, false, 7},
		{"an index that went backwards starts over", 7, 3, false, 0},
	} {
		at := cursor{pace: &consulPace{retry: rest, retryMax: most}, index: test.known, failures: 3}
		require.Equal(t, test.news, at.answered(test.index), test.name)
		require.Equal(t, test.next, at.index, test.name)
		require.Zero(t, at.failures, test.name)
	}
	at := cursor{pace: &consulPace{retry: rest, retryMax: most}, index: 7}
	for _, want := range []time.Duration{rest, 2 * rest, 4 * rest, 8 * rest, most, most} {
		again := at
		require.Equal(t, want/2, again.failed(0), "half of the rest is certain")
		require.Equal(t, want, at.failed(1), "half of it is jitter")
	}
	at.failures = 1 << 30
	require.Equal(t, most, at.failed(1))
	require.Equal(t, uint64(7), at.index, "a failure forgets nothing")
	require.True(t, at.acceptsStale(8))
	require.False(t, at.acceptsStale(7), "a server that lags behind takes nothing back")
}

func TestWatchSurvivesIndexGoingBackwards(t *testing.T) {
	var restored atomic.Bool
	c := fakeAgent(t, func(w http.ResponseWriter, r *http.Request) {
		switch index := r.URL.Query().Get("index"); {
		case !restored.Load() && index == "":
			answerKey(w, 100, "new")
		case restored.Load() && index == "":
			answerKey(w, 5, "restored")
		case restored.CompareAndSwap(false, true):
			answerKey(w, 5, "restored")
		default:
			hang(r)
		}
	})
	watch := c.Watch(t.Context(), "key")
	require.Equal(t, "new", string(next(t, watch).Value))
	require.Equal(t, Entry{Key: "key", Value: []byte("restored"), Index: 5}, next(t, watch))
}

func TestWatchNeverSpins(t *testing.T) {
	for name, handler := range map[string]func(n int64, w http.ResponseWriter){
		"ignores the index":    func(_ int64, w http.ResponseWriter) { answerKey(w, 5, "same") },
		"always has news":      func(n int64, w http.ResponseWriter) { answerKey(w, int(n), "new") },
		"goes up and down":     func(n int64, w http.ResponseWriter) { answerKey(w, int(n%2)+1, "x") },
		"fails at once":        func(_ int64, w http.ResponseWriter) { http.Error(w, "no leader", http.StatusInternalServerError) },
		"refuses":              func(_ int64, w http.ResponseWriter) { http.Error(w, "denied", http.StatusForbidden) },
		"has no index":         func(_ int64, w http.ResponseWriter) { fmt.Fprint(w, `[]`) },
		"is something else":    func(_ int64, w http.ResponseWriter) { fmt.Fprint(w, `<html>hello</html>`) },
		"knows nothing of it":  func(_ int64, w http.ResponseWriter) { http.NotFound(w, nil) },
		"breaks off its words": func(_ int64, w http.ResponseWriter) { w.Header().Set("Content-Length", "999"); fmt.Fprint(w, `[{`) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int64
			c := fakeAgent(t, func(w http.ResponseWriter, _ *http.Request) { handler(asked.Add(1), w) })
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			watch := c.Watch(ctx, "key")
			<-ctx.Done()
			for entry := range watch {
				require.NotNil(t, entry.Value, "a broken answer is no deletion")
			}
			most := watchBurst + 500/20 + 60 // failures ask twice, at least 2.5 ms apart at first and 10 ms later
			require.LessOrEqual(t, asked.Load(), int64(most))
			require.GreaterOrEqual(t, asked.Load(), int64(3), "it does not give up either")
		})
	}
}

func TestWatchAsksAnyServerWithoutLeader(t *testing.T) {
	leaderless := make(chan struct{})
	var stale, asked atomic.Int64
	stale.Store(5)
	c := fakeAgent(t, func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		switch {
		case query.Has("stale"):
			asked.Add(1)
			index := int(stale.Load())
			answerKey(w, index, "stale "+strconv.Itoa(index))
		case query.Get("index") == "":
			answerKey(w, 10, "led")
		default:
			select {
			case <-leaderless:
			case <-r.Context().Done():
			}
			http.Error(w, "No cluster leader", http.StatusInternalServerError)
		}
	})
	watch := c.Watch(t.Context(), "key")
	require.Equal(t, "led", string(next(t, watch).Value))
	close(leaderless)
	require.Eventually(t, func() bool { return asked.Load() > 3 }, patience, tick)
	stale.Store(11)
	require.Equal(t, "stale 11", string(next(t, watch).Value), "older answers were not sent")
}

func TestConsulHangs(t *testing.T) {
	c := fakeAgent(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		hang(r)
	})
	began := time.Now()
	_, err := c.Get(t.Context(), "key")
	require.ErrorIs(t, err, ErrUnavailable)
	_, err = c.Services(t.Context(), SFUService)
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorIs(t, c.SetMaintenance(t.Context(), "agent-1", true, ""), ErrUnavailable)
	require.Less(t, time.Since(began), 5*time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := c.Campaign(ctx, "lock")
		ended <- err
	}()
	cancel()
	require.ErrorIs(t, next(t, ended), context.Canceled)
}

func TestAListMayTakeLongerThanOneKey(t *testing.T) {
	pace := fakePace
	pace.list = patience
	sent := make(chan struct{})
	c := fakeAgentAt(t, pace, func(w http.ResponseWriter, r *http.Request) {
		if !r.URL.Query().Has("recurse") {
			hang(r)
			return
		}
		<-sent
		answerKey(w, 5, "value")
	})
	listed := make(chan error, 1)
	go func() {
		_, err := c.List(t.Context(), "k")
		listed <- err
	}()
	_, err := c.Get(t.Context(), "key")
	require.ErrorIs(t, err, ErrUnavailable)
	close(sent)
	require.NoError(t, next(t, listed))
}

func TestRegionsAnswerApart(t *testing.T) {
	var lost atomic.Bool
	c := fakeAgent(t, func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		datacenter := query.Get("dc")
		if datacenter == "us" && lost.Load() {
			http.Error(w, "No path to datacenter", http.StatusInternalServerError)
			return
		}
		if query.Get("index") != "" {
			hang(r)
			return
		}
		w.Header().Set("X-Consul-Index", "3")
		fmt.Fprintf(w, `[{"Node":{"Node":"n","Datacenter":%q},"Service":{"ID":"sfu-%s","Service":"wardline-sfu"},
			"Checks":[{"Status":"passing"},{"Status":"warning"}]}]`, datacenter, datacenter)
	})
	want := []Service{
		{Name: SFUService, ID: "sfu-eu", Node: "n", Region: "eu", Health: Warning},
		{Name: SFUService, ID: "sfu-us", Node: "n", Region: "us", Health: Warning},
	}
	require.Equal(t, want, next(t, c.WatchServices(t.Context(), SFUService)), "the first list has every region")
	lost.Store(true)
	list, err := c.Services(t.Context(), SFUService)
	require.NoError(t, err)
	require.Equal(t, want, list, "the lost region's last good answer")
	fresh, err := newConsul(c.config, fakePace)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, fresh.Close()) })
	require.Equal(t, want[:1], next(t, fresh.WatchServices(t.Context(), SFUService)), "a region that never answers holds nobody up")
}

func TestRegionLeaves(t *testing.T) {
	var published [][]Service
	r := &regionLists{
		stale:   func(string) bool { return false },
		publish: func(list []Service) { published = append(published, list) }, lists: make(map[string][]Service), waiting: true,
	}
	eu, us := []Service{{ID: "a"}}, []Service{{ID: "b"}}
	r.expect([]string{"eu", "us"})
	r.set("eu", eu)
	require.Empty(t, published, "the other region may still answer")
	r.set("us", us)
	require.Equal(t, [][]Service{{{ID: "a"}, {ID: "b"}}}, published)
	r.expect([]string{"eu"})
	require.Equal(t, eu, published[1])
	r.set("us", us)
	require.Len(t, published, 2, "an answer on the way when its region left")
}

func TestLargeValuesReadTheirIndexBack(t *testing.T) {
	value := strings.Repeat("v", maxTxnValueBytes+1)
	pace := fakePace
	pace.request = patience
	for name, test := range map[string]struct {
		now  func(w http.ResponseWriter)
		want uint64
	}{
		"unchanged":     {func(w http.ResponseWriter) { answerKey(w, 20, value) }, 20},
		"changed since": {func(w http.ResponseWriter) { answerKey(w, 20, "other") }, 19},
		"deleted since": {func(w http.ResponseWriter) {
			w.Header().Set("X-Consul-Index", "20")
			w.WriteHeader(http.StatusNotFound)
		}, 8},
		"lost and unusable": {func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) }, 0},
	} {
		c := fakeAgentAt(t, pace, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				_, _ = io.Copy(io.Discard, r.Body)
				fmt.Fprint(w, "true")
				return
			}
			test.now(w)
		})
		entry, err := c.CompareAndSet(t.Context(), "key", []byte(value), 7)
		if test.want == 0 {
			require.ErrorIs(t, err, ErrUnavailable, name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, test.want, entry.Index, name)
	}
}

func TestALeaderWhoseRenewalsFailIsOneNoMoreThanItsSessionMayLive(t *testing.T) {
	t.Parallel()
	pace := fakePace
	pace.lock, pace.request = 3*time.Second, 3*time.Second
	var renewals atomic.Int64
	c := fakeAgentAt(t, pace, func(w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case path == "/v1/session/create":
			fmt.Fprint(w, `{"ID":"mine"}`)
		case strings.HasPrefix(path, "/v1/session/renew/"):
			if renewals.Add(1) > 2 {
				hang(r)
			}
			http.Error(w, "No cluster leader", http.StatusInternalServerError)
		case r.Method == http.MethodPut:
			fmt.Fprint(w, "true")
		case r.URL.Query().Get("index") != "":
			hang(r)
		default:
			w.Header().Set("X-Consul-Index", "5")
			fmt.Fprint(w, `[{"Key":"wardline/leaders/lock","Session":"mine","ModifyIndex":5}]`)
		}
	})
	leadership, err := c.Campaign(t.Context(), "lock")
	require.NoError(t, err)
	led := time.Now() // the session was made before
	<-leadership.Lost
	require.Less(t, time.Since(led), pace.lock)
}

// sink is a log that may be read while it is written.
type sink struct{ observetest.Text }

func (s *sink) count(text string) int { return strings.Count(s.String(), text) }

func TestWhatGoesOnFailingIsToldOnce(t *testing.T) {
	asked := map[string]*atomic.Int64{"/agent/check/": {}, "/health/service/consul": {}, "/session/": {}}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; path {
		case "/v1/agent/self":
			fmt.Fprint(w, `{"Config":{"NodeName":"agent-1","Datacenter":"eu"}}`)
		case "/v1/catalog/datacenters":
			fmt.Fprint(w, `["us","eu"]`)
		case "/v1/status/leader":
			fmt.Fprint(w, `"10.0.0.1:8300"`)
		case "/v1/agent/service/register":
		default:
			for part, times := range asked {
				if strings.Contains(path, part) {
					times.Add(1)
				}
			}
			http.Error(w, "out of order", http.StatusInternalServerError)
		}
	}))
	defer server.Close()
	authority := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	var told sink
	pace := fakePace
	pace.beat, pace.request = tick, patience
	c, err := newConsul(ConsulConfig{Address: server.URL, CAFile: authority, Log: zerolog.New(&told)}, pace)
	require.NoError(t, err)
	require.NoError(t, c.Register(t.Context(), Service{Name: SFUService, ID: "sfu-1", Node: "agent-1", Region: "eu"}))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = c.Campaign(ctx, "lock")
	}()
	for part, times := range asked {
		require.Eventually(t, func() bool { return times.Load() > 5 }, patience, tick, part)
	}
	cancel()
	<-ended
	require.Error(t, c.Close(), "it cannot deregister")
	for _, text := range []string{"could not show that it lives", "campaign unanswered", "servers of a region not learned"} {
		require.Equal(t, 1, told.count(text), text)
	}
}
