//go:build linux && !race

// Package chaos breaks servers under visits at random, and looks whether every visit is whole again once they are back.
package chaos

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/test/e2e/devtest"
)

const (
	// lengthVar is how long to break things for, such as 5m, seedVar what to begin with instead of a random number.
	lengthVar, seedVar = "WARDLINE_CHAOS", "WARDLINE_CHAOS_SEED"
	visits             = 4
	// wholeWithin is how long after everything is back every visit must be whole again.
	wholeWithin = 30 * time.Second
	// unnoticed is the longest gap in voices where no media server was taken away.
	unnoticed = 2 * time.Second
)

func TestMain(m *testing.M) {
	os.Exit(devtest.Main(m))
}

func TestVisitsAreWholeAgain(t *testing.T) {
	if os.Getenv(lengthVar) == "" {
		t.Skipf("SKIPPED, NOT TESTED: servers that break at random; set %s=5m", lengthVar)
	}
	length, err := time.ParseDuration(os.Getenv(lengthVar))
	require.NoError(t, err, lengthVar)
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv(seedVar); text != "" {
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, seedVar)
	}
	t.Logf("%s=%d", seedVar, seed)
	w := startWorld(t, rand.New(rand.NewPCG(seed, 0)))
	for visit := range visits {
		for number := range 2 + visit%3 {
			w.join(visit, number)
		}
	}
	w.settle("at the beginning")
	for end := time.Now().Add(length); time.Now().Before(end) && !t.Failed(); {
		begun := time.Now()
		what, takenAway := w.disturb()
		w.settle(what)
		gap := w.longestGap(begun)
		t.Logf("longest gap %s", gap)
		if !takenAway && gap > unnoticed {
			t.Errorf("at most %s", unnoticed)
		}
	}
}

// disturb lets one thing happen, or some at once. It says what, and whether people had to be without their media server for a while.
func (w *world) disturb() (what string, takenAway bool) {
	var running sync.WaitGroup
	var all []string
	var media, moving, signaling bool
	begun := time.Now()
	for again := true; again; again = w.random.IntN(5) < 2 {
		if len(all) > 0 {
			time.Sleep(w.between(0, 2*time.Second))
		}
		f := w.fault()
		all = append(all, f.what)
		media, moving, signaling = media || f.media, moving || f.moving, signaling || f.signaling
		running.Go(f.do)
	}
	running.Wait()
	what = fmt.Sprintf("%s (%s)", strings.Join(all, ", "), time.Since(begun).Round(10*time.Millisecond))
	return what, media || moving && signaling
}

// settle waits until everybody gets everybody's media.
func (w *world) settle(what string) {
	w.t.Helper()
	begun := time.Now()
	for {
		missing := w.missing()
		took := time.Since(begun).Round(10 * time.Millisecond)
		if len(missing) == 0 {
			w.t.Logf("%s %s; whole after %s", begun.UTC().Format("15:04:05"), what, took)
			return
		}
		if took > wholeWithin {
			w.t.Fatalf("%s %s; not whole after %s: %q", begun.UTC().Format("15:04:05"), what, took, missing)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
