package observe

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

const (
	// keptLines is how many lines are kept for a reader that stalls.
	keptLines = 1024
	// linePatience is how long a line waits for its reader before that counts as stalled, closePatience how long Close does.
	linePatience  = 20 * time.Millisecond
	closePatience = 2 * time.Second
)

// Writer passes log lines on to where a reader may stall without going away, as that of a pipe may: who logs must not stall
// with it, least of all a goroutine that forwards media. While the reader stalls lines are kept, and beyond keptLines they are
// lost, which is counted and said once it reads again. While it reads, a line has been passed on when Write returns, so
// that the last words of a process that crashes are not lost.
type Writer struct {
	w      io.Writer
	notice zerolog.Logger
	lost   prometheus.Counter
	untold atomic.Uint64 // of those lost

	mu      sync.Mutex // guards closed and the sending on lines, not the waiting
	closed  bool
	lines   chan line
	stalled atomic.Bool
	ended   chan struct{}
}

// line is a log line that written is closed behind.
type line struct {
	text    []byte
	written chan struct{}
}

// NewWriter returns a Writer of a component's log. Close ends it.
func NewWriter(w io.Writer, component string) *Writer {
	passed := &Writer{
		w: w, notice: stamped(w, component), lines: make(chan line, keptLines), ended: make(chan struct{}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "wardline", Subsystem: "log", Name: "lines_lost_total", Help: "Log lines lost because nobody read them.",
		}),
	}
	go passed.run()
	return passed
}

// Lost is the metric that counts lines lost.
func (w *Writer) Lost() prometheus.Collector { return w.lost }

// Write implements io.Writer for one whole line. It never fails: a line that cannot be written is a line lost.
func (w *Writer) Write(p []byte) (int, error) {
	l := line{bytes.Clone(p), make(chan struct{})} // zerolog uses p again
	if !w.keep(l) {
		w.lose()
		return len(p), nil
	}
	if w.stalled.Load() {
		return len(p), nil
	}
	patience := time.NewTimer(linePatience)
	defer patience.Stop()
	select {
	case <-l.written:
	case <-patience.C:
		w.stalled.Store(true)
	}
	return len(p), nil
}

// keep queues a line if there is room.
func (w *Writer) keep(l line) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	select {
	case w.lines <- l:
		return true
	default:
		return false
	}
}

func (w *Writer) lose() {
	w.lost.Inc()
	w.untold.Add(1)
}

// run writes lines until Close.
func (w *Writer) run() {
	defer close(w.ended)
	for l := range w.lines {
		if _, err := w.w.Write(l.text); err != nil {
			w.lose()
		} else if len(w.lines) == 0 {
			w.stalled.Store(false)
			if lost := w.untold.Swap(0); lost > 0 {
				w.notice.Warn().Uint64("lost", lost).Msg("log lines lost, which nobody read")
			}
		}
		close(l.written)
	}
}

var errUnread = errors.New("nobody reads the log")

// Close writes what is kept, for two seconds at most. What is logged afterwards is lost.
func (w *Writer) Close() error {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.lines)
	}
	w.mu.Unlock()
	patience := time.NewTimer(closePatience)
	defer patience.Stop()
	select {
	case <-w.ended:
		return nil
	case <-patience.C:
		return fmt.Errorf("%w: %d lines are lost", errUnread, len(w.lines))
	}
}
