// Package observe sets up what every component shows of itself: structured logs, metrics, liveness,
// readiness and profiles.
package observe

import (
	"fmt"
	"io"
	"time"

	"github.com/rs/zerolog"
)

// timeFormat is RFC 3339 with milliseconds, always in UTC.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// levels are those a log can be set to.
var levels = map[string]zerolog.Level{
	"trace": zerolog.TraceLevel,
	"debug": zerolog.DebugLevel,
	"info":  zerolog.InfoLevel,
	"warn":  zerolog.WarnLevel,
	"error": zerolog.ErrorLevel,
}

// Logger writes JSON lines with the fields level, component, time and message to w. level is trace, debug,
// info, warn or error. w must be safe for concurrent writes of whole lines, as files are.
func Logger(w io.Writer, component, level string) (zerolog.Logger, error) {
	parsed, known := levels[level]
	if !known {
		return zerolog.Nop(), fmt.Errorf("log level %.20q: must be trace, debug, info, warn or error", level)
	}
	return stamped(w, component).Level(parsed), nil
}

// stamped is a logger of all levels.
func stamped(w io.Writer, component string) zerolog.Logger {
	// A hook rather than zerolog's own timestamp, whose format is a global of the whole process.
	return zerolog.New(w).Hook(timestamp(time.Now)).With().Str("component", component).Logger()
}

// timestamp adds the time to each line.
type timestamp func() time.Time

// Run implements zerolog.Hook.
func (now timestamp) Run(event *zerolog.Event, _ zerolog.Level, _ string) {
	event.Str(zerolog.TimestampFieldName, now().UTC().Format(timeFormat))
}
