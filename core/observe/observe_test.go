package observe

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLogLinesAreJSONWithTimeAndComponent(t *testing.T) {
	var output bytes.Buffer
	log, err := Logger(&output, "gateway", "info")
	require.NoError(t, err)
	log.Debug().Msg("too fine")
	log.Info().Str("encounter", "visit-1").Msg("joined")

	var line map[string]string
	require.NoError(t, json.Unmarshal(output.Bytes(), &line))
	require.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`, line["time"])
	written, err := time.Parse(time.RFC3339, line["time"])
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), written, time.Minute)
	delete(line, "time")
	require.Equal(t, map[string]string{"level": "info", "component": "gateway", "encounter": "visit-1", "message": "joined"}, line)
}

func TestTimestampsAreUTC(t *testing.T) {
	east := time.FixedZone("east", 2*60*60)
	var output bytes.Buffer
	log := zerolog.New(&output).Hook(timestamp(func() time.Time { return time.Date(2026, 3, 1, 1, 2, 3, 4e6, east) }))
	log.Info().Msg("")
	require.Contains(t, output.String(), `"time":"2026-02-28T23:02:03.004Z"`)
}

func TestLogLevels(t *testing.T) {
	for name, level := range levels {
		log, err := Logger(io.Discard, "sfu", name)
		require.NoError(t, err)
		require.Equal(t, level, log.GetLevel())
	}
	for _, name := range []string{"", "INFO", "verbose"} {
		_, err := Logger(io.Discard, "sfu", name)
		require.ErrorContains(t, err, "must be trace, debug, info, warn or error", "%q", name)
	}
}

func get(t *testing.T, admin *Admin, path string) (int, string) {
	t.Helper()
	recorder := httptest.NewRecorder()
	admin.Handler().ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
	return recorder.Code, recorder.Body.String()
}

func TestMetricsIncludeRuntimeBuildAndComponent(t *testing.T) {
	admin := NewAdmin(zerolog.Nop(), "", false)
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "wardline_test_total", Help: "Test."})
	admin.Registry().MustRegister(counter)
	counter.Inc()
	status, body := get(t, admin, "/metrics")
	require.Equal(t, http.StatusOK, status)
	for _, metric := range []string{"go_goroutines", "process_start_time_seconds", "wardline_build_info{", "wardline_test_total 1"} {
		require.Contains(t, body, metric)
	}
}

func TestBuildInfoHasTheVersionOfTheRelease(t *testing.T) {
	_, body := get(t, NewAdmin(zerolog.Nop(), "1.2.3", false), "/metrics")
	require.Regexp(t, `wardline_build_info{.*version="1\.2\.3"} 1`, body)
}

// brokenCollector cannot be gathered.
type brokenCollector struct{ description *prometheus.Desc }

func (c brokenCollector) Describe(out chan<- *prometheus.Desc) { out <- c.description }

func (c brokenCollector) Collect(out chan<- prometheus.Metric) {
	out <- prometheus.NewInvalidMetric(c.description, errors.New("broken collector"))
}

func TestOneBrokenMetricIsLoggedAndHidesNoOther(t *testing.T) {
	var output bytes.Buffer
	admin := NewAdmin(zerolog.New(&output), "", false)
	admin.Registry().MustRegister(brokenCollector{prometheus.NewDesc("wardline_broken", "Broken.", nil, nil)})
	status, body := get(t, admin, "/metrics")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, "go_goroutines")
	require.Contains(t, output.String(), "broken collector")
}

func TestLiveWhateverIsReady(t *testing.T) {
	admin := NewAdmin(zerolog.Nop(), "", false)
	admin.AddCheck("store", func(context.Context) error { return errors.New("down") })
	status, _ := get(t, admin, "/live")
	require.Equal(t, http.StatusOK, status)
}

func TestReadyNamesEachCheck(t *testing.T) {
	up := func(context.Context) error { return nil }
	down := func(context.Context) error { return errors.New("store: connection refused") }
	for _, test := range []struct {
		name               string
		media, store, wish func(context.Context) error
		status             int
		body               string
	}{
		{"no checks", nil, nil, nil, http.StatusOK, `{"ready":true,"status":"ready","checks":[]}`},
		{
			"all pass", up, nil, nil,
			http.StatusOK,
			`{"ready":true,"status":"ready","checks":[{"name":"media","ready":true}]}`,
		},
		{
			"one fails", up, down, nil,
			http.StatusServiceUnavailable,
			`{"ready":false,"status":"not ready","checks":[{"name":"media","ready":true},` +
				`{"name":"store","ready":false,"error":"store: connection refused"}]}`,
		},
		{
			"a dependency fails", up, nil, down,
			http.StatusOK,
			`{"ready":true,"status":"degraded","checks":[{"name":"media","ready":true},` +
				`{"name":"wish","ready":false,"error":"store: connection refused"}]}`,
		},
		{
			"both fail", nil, down, down,
			http.StatusServiceUnavailable,
			`{"ready":false,"status":"not ready","checks":[{"name":"store","ready":false,"error":"store: connection refused"},` +
				`{"name":"wish","ready":false,"error":"store: connection refused"}]}`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			admin := NewAdmin(zerolog.Nop(), "", false)
			if test.media != nil {
				admin.AddCheck("media", test.media)
			}
			if test.store != nil {
				admin.AddCheck("store", test.store)
			}
			if test.wish != nil {
				admin.AddDependency("wish", test.wish)
			}
			status, body := get(t, admin, "/ready")
			require.Equal(t, test.status, status)
			require.JSONEq(t, test.body, body)
		})
	}
}

func TestSlowCheckFailsAfterASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		admin := NewAdmin(zerolog.Nop(), "", false)
		admin.AddCheck("slow", func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
		begin := time.Now()
		status, body := get(t, admin, "/ready")
		require.Equal(t, http.StatusServiceUnavailable, status)
		require.Contains(t, body, `"name":"slow","ready":false`)
		require.Equal(t, checkTimeout, time.Since(begin))
	})
}

func TestHungCheckHangsOnceAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		admin := NewAdmin(zerolog.Nop(), "", false)
		release, runs := make(chan struct{}), new(atomic.Int32)
		admin.AddCheck("hung", func(context.Context) error {
			runs.Add(1)
			<-release
			return nil
		})
		for range 3 {
			status, body := get(t, admin, "/ready")
			require.Equal(t, http.StatusServiceUnavailable, status)
			require.Contains(t, body, "no answer within 1s")
		}
		require.Equal(t, int32(1), runs.Load())

		close(release)
		synctest.Wait()
		status, _ := get(t, admin, "/ready")
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, int32(2), runs.Load())
	})
}

func TestAskerWhoLeavesDoesNotFailTheCheckForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		c := &check{name: "store", run: func(ctx context.Context) error {
			select {
			case <-release:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
		gone, cancel := context.WithCancel(t.Context())
		first := c.start(gone)
		cancel()
		synctest.Wait()
		second := c.start(t.Context())
		require.Same(t, first, second)
		close(release)
		require.NoError(t, second.wait(nil))
	})
}

func TestProfilesOnlyWhenAskedFor(t *testing.T) {
	status, _ := get(t, NewAdmin(zerolog.Nop(), "", false), "/debug/pprof/")
	require.Equal(t, http.StatusNotFound, status)
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/symbol", "/debug/pprof/goroutine"} {
		status, _ = get(t, NewAdmin(zerolog.Nop(), "", true), path)
		require.Equal(t, http.StatusOK, status, path)
	}
}

func TestAdminChangesNothing(t *testing.T) {
	recorder := httptest.NewRecorder()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/ready", http.NoBody)
	NewAdmin(zerolog.Nop(), "", false).Handler().ServeHTTP(recorder, request)
	require.Equal(t, http.StatusMethodNotAllowed, recorder.Code)
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	return listener
}

func TestServeEndsWithItsContext(t *testing.T) {
	listener := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- NewAdmin(zerolog.Nop(), "", false).Serve(ctx, listener) }()

	requireLive(t, listener.Addr())
	cancel()
	require.NoError(t, <-served)
	_, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", listener.Addr().String())
	require.Error(t, err)
}

func TestServeCutsConnectionsThatDoNotEnd(t *testing.T) {
	listener := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- NewAdmin(zerolog.Nop(), "", false).Serve(ctx, listener) }()

	stuck, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", listener.Addr().String())
	require.NoError(t, err)
	defer stuck.Close()
	_, err = io.WriteString(stuck, "GET /live HTTP/1.1\r\nHost")
	require.NoError(t, err)
	requireLive(t, listener.Addr()) // connections are accepted in order: the stuck one is in by now

	cancel()
	begin := time.Now()
	require.NoError(t, <-served)
	require.Less(t, time.Since(begin), shutdownTimeout+5*time.Second)
	require.NoError(t, stuck.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err = io.ReadAll(stuck)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection was left open")
}

func requireLive(t *testing.T, address net.Addr) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	response, err := client.Get("http://" + address.String() + "/live")
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)
}

func TestServeReportsALostListener(t *testing.T) {
	listener := listen(t)
	require.NoError(t, listener.Close())
	err := NewAdmin(zerolog.Nop(), "", false).Serve(t.Context(), listener)
	require.ErrorIs(t, err, net.ErrClosed)
	require.ErrorContains(t, err, listener.Addr().String())
}

// pipes is a listener whose connections are in memory, so that time can be skipped.
type pipes struct {
	made   chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.made:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func TestAdminKeepsNoConnectionThatDoesNothing(t *testing.T) {
	for name, does := range map[string]func(*testing.T, net.Conn){
		"says nothing": func(*testing.T, net.Conn) {},
		"asks once": func(t *testing.T, conn net.Conn) {
			t.Helper()
			_, err := io.WriteString(conn, "GET /live HTTP/1.1\r\nHost: admin\r\n\r\n")
			require.NoError(t, err)
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			_, err = io.Copy(io.Discard, response.Body)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
		},
		"asks and does not read": func(t *testing.T, conn net.Conn) {
			t.Helper()
			_, err := io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: admin\r\n\r\n")
			require.NoError(t, err)
			time.Sleep(time.Hour)
		},
		"asks and never ends its request": func(t *testing.T, conn net.Conn) {
			t.Helper()
			_, err := io.WriteString(conn, "GET /live HTTP/1.1\r\nHost: admin\r\nContent-Length: 9\r\n\r\n")
			require.NoError(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				listener := &pipes{made: make(chan net.Conn), closed: make(chan struct{})}
				ctx, cancel := context.WithCancel(t.Context())
				served := make(chan error, 1)
				go func() { served <- NewAdmin(zerolog.Nop(), "", false).Serve(ctx, listener) }()
				client, server := net.Pipe()
				listener.made <- server
				does(t, client)
				_ = client.SetReadDeadline(time.Now().Add(time.Hour)) // fails where it is closed already
				_, err := io.Copy(io.Discard, client)
				require.NoError(t, err, "still open after an hour")
				require.NoError(t, client.Close())
				cancel()
				require.NoError(t, <-served)
			})
		})
	}
}
