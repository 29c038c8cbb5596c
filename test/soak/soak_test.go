//go:build !race

// Package soak lets people come and go for a long time, and looks at what that leaves behind.
package soak

import (
	"context"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/edge/client"
	"github.com/wardline/wardline/test/e2e/devtest"
)

// enabled lets the soak run: it takes half a minute and both processors.
const enabled = "WARDLINE_SOAK"

func TestMain(m *testing.M) {
	os.Exit(devtest.Main(m))
}

// footprint is what a process holds.
type footprint struct{ goroutines, descriptors, heap, resident int }

// measure reads the admin port after a garbage collection, which asking for a heap profile makes.
func measure(d *devtest.Dev) footprint {
	d.T.Helper()
	admin := regexp.MustCompile(`(http://\S+)/metrics`).FindStringSubmatch(d.Text())[1]
	fetch(d.T, admin+"/debug/pprof/heap?gc=1")
	text := fetch(d.T, admin+"/metrics")
	value := func(name string) int {
		found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(text)
		require.NotNil(d.T, found, name)
		number, err := strconv.ParseFloat(string(found[1]), 64)
		require.NoError(d.T, err)
		return int(number)
	}
	return footprint{
		value("go_goroutines"), value("process_open_fds"), value("go_memstats_heap_inuse_bytes"), value("process_resident_memory_bytes"),
	}
}

func fetch(t *testing.T, url string) []byte {
	t.Helper()
	response, err := http.Get(url)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return text
}

// attend joins as a participant, stays until it receives somebody's camera, and leaves.
func attend(ctx context.Context, d *devtest.Dev, token string) error {
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	return client.Run(ctx, client.Config{
		Gateways: []string{d.URL}, Token: token, Publish: true, RTT: map[string]float64{}, DirectUDP: true,
		Events: func(event client.Event) {
			if event.Kind == client.Media && event.Source == "camera" {
				leave()
			}
		},
	})
}

// TestNothingIsLeftOf500JoinsAndLeaves is a soak as fast as it goes: two people have a visit, others come and go.
// Under the race detector its own clients would be most of the work.
func TestNothingIsLeftOf500JoinsAndLeaves(t *testing.T) {
	if os.Getenv(enabled) != "1" {
		t.Skipf("SKIPPED, NOT TESTED: what 500 joins and leaves leave behind; set %s=1", enabled)
	}
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip("descriptors are counted on Linux only")
	}
	const joins, warmUp, workers = 500, 60, 8
	d := devtest.Start(t)
	ctx, end := context.WithCancel(context.WithoutCancel(t.Context()))
	var staying sync.WaitGroup
	met := make(chan string, 100)
	for role, id := range map[string]string{"provider": "stays-1", "supervisor": "stays-2"} {
		token := d.Token("soak", role, id)
		staying.Go(func() {
			_ = client.Run(ctx, client.Config{
				Gateways: []string{d.URL}, Token: token, Publish: true, RTT: map[string]float64{}, DirectUDP: true,
				Events: func(event client.Event) {
					if event.Kind == client.Media && event.Leg == 1 && len(met) < 2 {
						met <- id
					}
				},
			})
		})
	}
	defer staying.Wait()
	defer end()
	<-met
	<-met

	var tokens []string
	for worker := range workers {
		tokens = append(tokens, d.Token("soak", "supervisor", "passes-"+strconv.Itoa(worker)))
	}
	comeAndGo := func(count int64) {
		var done atomic.Int64
		var running sync.WaitGroup
		problems := make(chan error, workers)
		for _, token := range tokens {
			running.Go(func() {
				for done.Add(1) <= count {
					limited, cancel := context.WithTimeout(ctx, 20*time.Second)
					err := attend(limited, d, token)
					if err == nil {
						err = limited.Err()
					}
					cancel()
					if err != nil {
						problems <- err
						return
					}
				}
			})
		}
		running.Wait()
		close(problems)
		require.NoError(t, <-problems, "a join failed")
	}
	comeAndGo(warmUp)
	var before footprint
	// Flat first: what a join leaves for a while has to go before it is the measure.
	require.True(t, becomes(func() bool {
		last := before
		before = measure(d)
		return before.goroutines >= last.goroutines && last.goroutines > 0
	}))
	begun := time.Now()
	comeAndGo(joins)
	t.Logf("%d joins in %s; before: %+v", joins, time.Since(begun).Round(time.Second), before)

	var after footprint
	if !becomes(func() bool {
		after = measure(d)
		return after.goroutines <= before.goroutines+workers && after.descriptors <= before.descriptors+workers &&
			after.heap <= before.heap+before.heap/4+4<<20 && after.resident <= before.resident+before.resident/4+16<<20
	}) {
		t.Fatalf("left behind: %+v, before %+v", after, before)
	}
	t.Logf("after: %+v", after)
}

// becomes waits for a condition.
func becomes(condition func() bool) bool {
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for late := time.After(45 * time.Second); ; {
		if condition() {
			return true
		}
		select {
		case <-ticker.C:
		case <-late:
			return false
		}
	}
}
