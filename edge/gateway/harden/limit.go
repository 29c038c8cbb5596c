package harden

import (
	"net/http"

	"github.com/wardline/wardline/edge/gateway/problem"
)

// limitBodies refuses requests that announce a body over limit bytes and ends longer ones that did not. Handlers
// set narrower limits of their own.
func limitBodies(limit int64, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > limit {
			// What was not read would otherwise be taken for the connection's next request.
			w.Header().Set("Connection", "close")
			problem.Write(w, problem.TooLong(limit))
			return
		}
		// The request is changed in place, not cloned, so that the log around sees its route.
		r.Body = http.MaxBytesReader(w, r.Body, limit)
		next.ServeHTTP(w, r)
	})
}
