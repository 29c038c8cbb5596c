package observe

import (
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
)

// reader is the other end of a log, which reads while it is not held.
type reader struct {
	held chan struct{} // holds one token while nobody reads
	text strings.Builder
	fail atomic.Bool
}

func newReader() *reader { return &reader{held: make(chan struct{}, 1)} }

func (r *reader) Write(p []byte) (int, error) {
	r.held <- struct{}{}
	defer func() { <-r.held }()
	if r.fail.Load() {
		return 0, io.ErrClosedPipe
	}
	return r.text.Write(p)
}

func (r *reader) stall()   { r.held <- struct{}{} }
func (r *reader) proceed() { <-r.held }

// lines are the messages read so far.
func (r *reader) lines() []string {
	r.stall()
	defer r.proceed()
	return strings.Split(strings.TrimSpace(r.text.String()), "\n")
}

// inBubble runs a test of a Writer on fake time, in which waiting is exact and costs nothing.
func inBubble(t *testing.T, test func(t *testing.T, log zerolog.Logger, r *reader, w *Writer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newReader()
		w := NewWriter(r, "sfu")
		log, err := Logger(w, "sfu", "info")
		require.NoError(t, err)
		test(t, log, r, w)
		_ = w.Close()
	})
}

func TestALineIsWrittenWhenLoggingReturns(t *testing.T) {
	inBubble(t, func(t *testing.T, log zerolog.Logger, r *reader, _ *Writer) {
		t.Helper()
		for n := range 3 * keptLines {
			log.Info().Int("n", n).Msg("line")
			require.Contains(t, r.lines()[n], fmt.Sprintf(`"n":%d,`, n), "also if the process crashes now")
		}
	})
}

func TestAReaderThatStallsHoldsNobodyUp(t *testing.T) {
	inBubble(t, func(t *testing.T, log zerolog.Logger, r *reader, w *Writer) {
		t.Helper()
		r.stall()
		start := time.Now()
		for n := range 3 * keptLines {
			log.Info().Int("n", n).Msg("line")
		}
		require.LessOrEqual(t, time.Since(start), linePatience, "the first line waits, the others know")
		const kept = keptLines + 1 // one is on its way
		require.InDelta(t, 3*keptLines-kept, testutil.ToFloat64(w.Lost()), 0)

		r.proceed()
		synctest.Wait()
		lines := r.lines()
		require.Len(t, lines, kept+1)
		require.Contains(t, lines[kept-1], fmt.Sprintf(`"n":%d,`, kept-1), "in order")
		require.Regexp(t, fmt.Sprintf(`"level":"warn","component":"sfu","lost":%d,.*"time":"20`, 3*keptLines-kept), lines[kept])

		log.Info().Msg("again")
		require.Contains(t, r.lines()[kept+1], "again", "as if nothing had been")
	})
}

func TestTheLastLinesAreWrittenAtTheEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, log zerolog.Logger, r *reader, w *Writer) {
		t.Helper()
		r.stall()
		for range 10 {
			log.Info().Msg("line")
		}
		time.AfterFunc(closePatience/2, r.proceed)
		require.NoError(t, w.Close())
		require.Len(t, r.lines(), 10)
		log.Info().Msg("too late")
		require.InDelta(t, 1, testutil.ToFloat64(w.Lost()), 0)
		require.NoError(t, w.Close(), "closing again does nothing")
	})
}

func TestTheEndDoesNotWaitForAReaderThatStalls(t *testing.T) {
	inBubble(t, func(t *testing.T, log zerolog.Logger, r *reader, w *Writer) {
		t.Helper()
		r.stall()
		log.Info().Msg("line")
		log.Info().Msg("line")
		start := time.Now()
		require.ErrorIs(t, w.Close(), errUnread)
		require.Equal(t, closePatience, time.Since(start))
		r.proceed()
	})
}

func TestLinesThatCannotBeWrittenAreCounted(t *testing.T) {
	inBubble(t, func(t *testing.T, log zerolog.Logger, r *reader, w *Writer) {
		t.Helper()
		r.fail.Store(true)
		log.Info().Msg("line")
		r.fail.Store(false)
		log.Info().Msg("line")
		require.InDelta(t, 1, testutil.ToFloat64(w.Lost()), 0)
		require.Len(t, r.lines(), 2)
		require.Contains(t, r.lines()[1], `"lost":1,`)
	})
}
