package sfu

import (
	"github.com/pion/logging"
	"github.com/rs/zerolog"
)

// pionLog passes what pion has to say on as debug lines: whatever needs an operator is logged by this
// package itself, with the fields that say whose it is.
type pionLog struct{ log zerolog.Logger }

// NewLogger implements logging.LoggerFactory.
func (p pionLog) NewLogger(scope string) logging.LeveledLogger {
	return pionScope{p.log.With().Str("pion", scope).Logger()}
}

type pionScope struct{ log zerolog.Logger }

func (p pionScope) Trace(string)                {}
func (p pionScope) Tracef(string, ...any)       {}
func (p pionScope) Debug(string)                {}
func (p pionScope) Debugf(string, ...any)       {}
func (p pionScope) Info(string)                 {}
func (p pionScope) Infof(string, ...any)        {}
func (p pionScope) Warn(m string)               { p.log.Debug().Msg(m) }
func (p pionScope) Warnf(f string, args ...any) { p.log.Debug().Msgf(f, args...) }
func (p pionScope) Error(m string)              { p.log.Debug().Msg(m) }
func (p pionScope) Errorf(f string, args ...any) {
	p.log.Debug().Msgf(f, args...)
}
