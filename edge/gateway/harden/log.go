package harden

import (
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"github.com/wardline/wardline/edge/gateway/problem"
)

// unmatched stands for the route of a request no pattern matched: its path is free text.
const unmatched = "unmatched"

// Lines about requests, of those that went well or were refused and of those that failed: more than a gateway's own people
// need, and no disk is filled by what anybody can send.
const linesAtOnce, linesPerSecond = 2000, 200

// lines bounds how many lines there are.
type lines struct {
	limit   *rate.Limiter
	leftOut atomic.Uint64
}

func newLines() *lines { return &lines{limit: rate.NewLimiter(linesPerSecond, linesAtOnce)} }

// write completes and writes a line, or leaves it out; the next one that is written says how many were.
func (l *lines) write(event *zerolog.Event) {
	if !l.limit.Allow() {
		l.leftOut.Add(1)
		event.Discard().Send()
		return
	}
	if n := l.leftOut.Swap(0); n > 0 {
		event = event.Uint64("left_out", n)
	}
	event.Msg("request")
}

// logRequests writes one line for each request: method, route pattern, status and duration, nothing of its URL,
// headers or body; in a flood some have to do. A handler's panic becomes a 500 and an error line with its stack.
func logRequests(log zerolog.Logger, next http.Handler) http.Handler {
	ordinary, failed := newLines(), newLines()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := time.Now()
		recorder := &recorder{ResponseWriter: w}
		defer func() {
			if cause := recover(); cause != nil {
				rescue(log, recorder, r, cause)
			}
			level, lines := zerolog.InfoLevel, ordinary
			if recorder.status >= http.StatusInternalServerError {
				level, lines = zerolog.ErrorLevel, failed
			}
			lines.write(log.WithLevel(level).Str("method", method(r)).Str("route", route(r)).Int("status", recorder.status).
				Dur("duration_ms", time.Since(started)))
		}()
		next.ServeHTTP(recorder, r)
		if recorder.status == 0 {
			recorder.status = http.StatusOK
		}
	})
}

// rescue answers for a handler that panicked. http.ErrAbortHandler is a handler's way to cut the
// connection and goes on up, as does any panic after the answer began: the client must not take half for whole.
func rescue(log zerolog.Logger, w *recorder, r *http.Request, cause any) {
	err, isError := cause.(error)
	aborted := isError && errors.Is(err, http.ErrAbortHandler)
	if !aborted {
		log.Error().Str("method", method(r)).Str("route", route(r)).Str("panic", fmt.Sprintf("%.200v", cause)).
			Str("stack", string(debug.Stack())).Msg("handler panicked")
	}
	if aborted || w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	problem.Write(w, problem.New(http.StatusInternalServerError, problem.Internal, "the request could not be completed"))
}

func route(r *http.Request) string {
	if r.Pattern == "" {
		return unmatched
	}
	return r.Pattern
}

// method returns the request's method if it is a usual one: it is free text as well.
func method(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return r.Method
	default:
		return "other"
	}
}

// recorder remembers the status of a response.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter; informational responses but 101 are not the answer yet.
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 && (status >= http.StatusOK || status == http.StatusSwitchingProtocols) {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *recorder) Write(data []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(data)
}

// Unwrap lets http.ResponseController reach what this one does not do itself, such as hijacking.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
