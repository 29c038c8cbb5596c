package turn

import (
	"github.com/pion/logging"
	"github.com/rs/zerolog"
)

// engineLog passes the engine's errors on without their values, which are user names and the addresses of
// patients.
type engineLog struct {
	log zerolog.Logger
}

// NewLogger is called by the engine.
func (l engineLog) NewLogger(string) logging.LeveledLogger { return l }

func (l engineLog) report(what string) { l.log.Warn().Str("engine", what).Msg("relay engine") }

func (l engineLog) Trace(string)          {}
func (l engineLog) Tracef(string, ...any) {}
func (l engineLog) Debug(string)          {}
func (l engineLog) Debugf(string, ...any) {}
func (l engineLog) Info(string)           {}
func (l engineLog) Infof(string, ...any)  {}
func (l engineLog) Warn(string)           { l.report("warning") }
func (l engineLog) Error(string)          { l.report("error") }

func (l engineLog) Warnf(format string, _ ...any)  { l.report(format) }
func (l engineLog) Errorf(format string, _ ...any) { l.report(format) }
