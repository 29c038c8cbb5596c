package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/wardline/wardline/core/encounter/federation"
)

func readDoc(t *testing.T, path ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(append([]string{"..", ".."}, path...)...))
	require.NoError(t, err)
	return string(content)
}

func TestReadmeListsTheFlagsOfDevWithTheirDefaults(t *testing.T) {
	readme := readDoc(t, "README.md")
	dev := newDev()
	dev.InitDefaultHelpFlag()
	var missing []string
	known := map[string]bool{"help": true}
	dev.Flags().VisitAll(func(flag *pflag.Flag) {
		known[flag.Name] = true
		if flag.Name == "help" {
			return
		}
		row := fmt.Sprintf("| `--%s` | ", flag.Name)
		if flag.DefValue != "" && flag.DefValue != "[]" && flag.DefValue != "false" {
			row += "`" + flag.DefValue + "` |"
		}
		if !strings.Contains(readme, row) {
			missing = append(missing, row)
		}
	})
	require.Empty(t, missing, "rows of README.md begin so")
	for _, row := range regexp.MustCompile("(?m)^\\| `--([a-z-]+)` ").FindAllStringSubmatch(readme, -1) {
		require.True(t, known[row[1]], "README.md lists --%s, which dev does not have", row[1])
	}
}

func TestReadmeListsThePortsOfDev(t *testing.T) {
	readme := readDoc(t, "README.md")
	flags := newDev().Flags()
	for name, ports := range map[string]int{"http": 1, "media": devSFUs, "turn": 2, "admin": 1} {
		_, first, err := splitAddress("--"+name, flags.Lookup(name).DefValue)
		require.NoError(t, err)
		for port := first; port < first+ports; port++ {
			require.Contains(t, readme, fmt.Sprintf("| %d | ", port), "--"+name)
		}
	}
}

func TestReadmeNamesTheSubcommands(t *testing.T) {
	readme := readDoc(t, "README.md")
	for _, cmd := range newRoot().Commands() {
		require.Contains(t, readme, "`"+cmd.Name()+"`")
	}
}

func TestOperationsSaysWhatIsKeptInConsul(t *testing.T) {
	page := readDoc(t, "docs", "operations.md")
	var missing []string
	for _, component := range []string{"gateway", "sfu", "turn", "operator", "home/gateway", "home/sfu", "home/turn"} {
		rules := readDoc(t, "jobs", "consul", component+".hcl")
		for _, prefix := range regexp.MustCompile(`key_prefix "(wardline/\w+/)`).FindAllStringSubmatch(rules, -1) {
			if !strings.Contains(page, "Consul KV `"+prefix[1]) {
				missing = append(missing, prefix[1])
			}
		}
	}
	require.Empty(t, missing, "docs/operations.md, what is kept where")
}

// describing is a registerer that remembers what the metrics look like: one with labels shows up in /metrics only
// once it has a value.
type describing struct {
	prometheus.Registerer
	mu   sync.Mutex
	rows map[string]bool
}

var descPattern = regexp.MustCompile(`fqName: "([^"]*)", help: "([^"]*)".*, constLabels: {([^}]*)}, variableLabels: {([^}]*)}`)

// Register implements prometheus.Registerer.
func (d *describing) Register(c prometheus.Collector) error {
	descs := make(chan *prometheus.Desc)
	go func() { c.Describe(descs); close(descs) }()
	d.mu.Lock()
	for desc := range descs {
		d.add(desc.String())
	}
	d.mu.Unlock()
	return d.Registerer.Register(c)
}

// MustRegister implements prometheus.Registerer.
func (d *describing) MustRegister(all ...prometheus.Collector) {
	for _, c := range all {
		if err := d.Register(c); err != nil {
			panic(err)
		}
	}
}

// add notes a metric as its row of docs/metrics.md.
func (d *describing) add(desc string) {
	found := descPattern.FindStringSubmatch(desc)
	if len(found) == 0 || !strings.HasPrefix(found[1], "wardline_") {
		return
	}
	var labels []string
	for _, label := range append(strings.Split(found[3], ","), strings.Split(found[4], ",")...) {
		if name, _, _ := strings.Cut(label, "="); name != "" {
			labels = append(labels, "`"+name+"`")
		}
	}
	slices.Sort(labels)
	d.rows[fmt.Sprintf("| `%s` | %s | %s |", found[1], strings.Join(labels, " "), found[2])] = true
}

func TestMetricsAreDocumented(t *testing.T) {
	p, err := newDevProcess(commonOptions{
		data: t.TempDir(), admin: "127.0.0.1:0", logLevel: "error", region: "local", node: "dev", id: "dev", register: true,
	}, t.Output())
	require.NoError(t, err)
	defer p.close()
	registry := &describing{Registerer: p.registry, rows: make(map[string]bool)}
	for _, desc := range describeAll(p.admin.Registry()) {
		registry.add(desc)
	}
	p.registry = registry

	ctx, cancel := context.WithCancel(t.Context())
	front, frontCtx := errgroup.WithContext(ctx)
	media, mediaCtx := errgroup.WithContext(ctx)
	err = p.startDev(frontCtx, mediaCtx, front, media, devOptions{
		common: p.options, gateway: gatewayOptions{http: "127.0.0.1:0"},
		sfu: sfuOptions{media: "127.0.0.1:0", capacity: 1}, turn: turnOptions{listen: "127.0.0.1:0", ports: defaultRelayPorts},
	}, io.Discard)
	cancel()
	require.NoError(t, err)
	require.NoError(t, front.Wait())
	require.NoError(t, media.Wait())

	// Dev has one region, and records of one have no metrics.
	federation.New(federation.Config{Own: "local", Order: func() []string { return nil }, Registerer: registry}).Close()

	documented := make(map[string]bool)
	for line := range strings.Lines(readDoc(t, "docs", "metrics.md")) {
		if strings.HasPrefix(line, "| `wardline_") {
			documented[strings.TrimSpace(line)] = true
		}
	}
	require.NotEmpty(t, registry.rows)
	require.Empty(t, without(registry.rows, documented), "docs/metrics.md lacks these rows")
	require.Empty(t, without(documented, registry.rows), "docs/metrics.md has rows that are true no more")
}

// without lists what is in rows and not in others, a line each.
func without(rows, others map[string]bool) string {
	var missing []string
	for row := range rows {
		if !others[row] {
			missing = append(missing, row)
		}
	}
	slices.Sort(missing)
	return strings.Join(missing, "\n")
}

// describeAll describes what is registered already.
func describeAll(collector prometheus.Collector) []string {
	descs := make(chan *prometheus.Desc)
	go func() { collector.Describe(descs); close(descs) }()
	var described []string
	for desc := range descs {
		described = append(described, desc.String())
	}
	return described
}
