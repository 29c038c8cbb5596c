package harden

import (
	stdlog "log" //nolint:depguard // http.Server.ErrorLog has this type
	"net/http"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// Limits of the server. Hijacked connections (WebSocket) leave the timeouts behind.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = 60 * time.Second
	idleTimeout       = 120 * time.Second
	maxHeaderBytes    = 32 << 10
	// MaxBodyBytes bounds any request's body; most handlers allow less.
	MaxBodyBytes = 256 << 10
)

// Wrap puts everything of this package around a handler.
func Wrap(log zerolog.Logger, tls bool, others Origins, next http.Handler) http.Handler {
	return logRequests(log, Headers(tls, others, limitBodies(MaxBodyBytes, next)))
}

// Server returns a server for handler that gives slow clients little to hold on to. The caller sets
// TLSConfig, serves and shuts down.
func Server(log zerolog.Logger, handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          stdlog.New(serverLog{log}, "", 0),
	}
}

// serverLog takes what net/http has to say, mostly failed handshakes: worth nothing unless somebody looks.
type serverLog struct{ log zerolog.Logger }

// Write implements io.Writer.
func (s serverLog) Write(line []byte) (int, error) {
	s.log.Debug().Str("line", strings.TrimSpace(string(line))).Msg("http server")
	return len(line), nil
}
