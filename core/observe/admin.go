package observe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"
)

const (
	readHeaderTimeout = 5 * time.Second
	// idleTimeout is longer than a scraper or a check stays away, requestTimeout than a request or its answer takes.
	idleTimeout    = 2 * time.Minute
	requestTimeout = time.Minute
	// shutdownTimeout is what requests under way get once Serve is to end.
	shutdownTimeout = 2 * time.Second
)

// Admin is the operator's side of a component: metrics, liveness, readiness and, on demand, profiles. It
// belongs on an address that patients cannot reach.
type Admin struct {
	log      zerolog.Logger
	pprof    bool
	registry *prometheus.Registry

	mu     sync.Mutex
	checks []*check
}

// NewAdmin makes an admin surface with the Go runtime's, the process's and the build's metrics. An empty version is
// that of the module. pprof adds /debug/pprof.
func NewAdmin(log zerolog.Logger, version string, pprof bool) *Admin {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		buildInfo(version),
	)
	return &Admin{log: log, pprof: pprof, registry: registry}
}

// buildInfo is the usual constant metric that tells versions apart.
func buildInfo(version string) prometheus.Collector {
	labels := prometheus.Labels{"version": "unknown", "revision": "unknown", "goversion": "unknown"}
	if info, ok := debug.ReadBuildInfo(); ok {
		labels["version"], labels["goversion"] = info.Main.Version, info.GoVersion
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				labels["revision"] = setting.Value
			}
		}
	}
	if version != "" {
		labels["version"] = version
	}
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "wardline_build_info",
		Help:        "Always 1; the labels say what was built.",
		ConstLabels: labels,
	})
	gauge.Set(1)
	return gauge
}

// Registry is where components register their metrics.
func (a *Admin) Registry() *prometheus.Registry { return a.registry }

// AddCheck adds a condition of readiness; nil from check means ready. It must return soon after its context
// ends, which is after one second; until it does it counts as failing and is not started again.
func (a *Admin) AddCheck(name string, run func(context.Context) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.checks = append(a.checks, &check{name: name, run: run})
}

// AddDependency adds something that the component would rather have but works without: while run fails, /ready
// answers 200 and says "degraded". run is held to what AddCheck says.
func (a *Admin) AddDependency(name string, run func(context.Context) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.checks = append(a.checks, &check{name: name, run: run, soft: true})
}

func (a *Admin) snapshot() []*check {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.checks)
}

// Handler serves /metrics, /live (200 for as long as the process serves), /ready (503 while a check fails,
// 200 and "degraded" while only a dependency does)
// and, if asked for, /debug/pprof.
func (a *Admin) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{
		Registry: a.registry, ErrorLog: &scrapeLog{a.log}, ErrorHandling: promhttp.ContinueOnError,
	}))
	mux.HandleFunc("GET /live", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "live")
	})
	mux.HandleFunc("GET /ready", a.serveReady)
	if a.pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// scrapeLog sends what goes wrong while metrics are gathered to the component's log.
type scrapeLog struct{ log zerolog.Logger }

// Println implements promhttp.Logger.
func (l *scrapeLog) Println(values ...any) {
	l.log.Warn().Str("detail", fmt.Sprint(values...)).Msg("gathering metrics")
}

// Serve serves Handler on a listener until ctx ends, then lets requests under way finish for two seconds. It
// closes the listener and returns nil after an orderly end.
func (a *Admin) Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{Handler: a.Handler(), ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout}
	if !a.pprof { // a profile takes as long as it was asked for
		server.ReadTimeout, server.WriteTimeout = requestTimeout, requestTimeout
	}
	stopped := make(chan error, 1)
	go func() { stopped <- server.Serve(listener) }()
	select {
	case err := <-stopped:
		return fmt.Errorf("admin server on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err := server.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close() // a profile or a slow reader must not hold up the end
	}
	if failure := <-stopped; !errors.Is(failure, http.ErrServerClosed) {
		err = errors.Join(err, failure)
	}
	if err != nil {
		return fmt.Errorf("admin server on %s: shutdown: %w", listener.Addr(), err)
	}
	return nil
}
