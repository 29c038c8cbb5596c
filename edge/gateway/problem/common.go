package problem

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// TooLong is the problem of a body over limit bytes.
func TooLong(limit int64) *Problem {
	return New(http.StatusRequestEntityTooLarge, TooLarge, fmt.Sprintf("the body may have at most %d bytes", limit))
}

// Method is the problem of a method the resource does not have.
func Method(allowed ...string) *Problem {
	list := strings.Join(allowed, ", ")
	p := New(http.StatusMethodNotAllowed, MethodNotAllowed, "allowed: "+list)
	p.Allow = list
	return p
}

// TooSoon is the problem of who asks too often, with a good token.
func TooSoon(detail string, wait time.Duration) *Problem {
	p := New(http.StatusTooManyRequests, RateLimited, detail)
	p.RetryAfter = wait
	return p
}

// MediaType is the problem of a body in another format than the wanted one.
func MediaType(got, want string) *Problem {
	return New(http.StatusUnsupportedMediaType, UnsupportedMedia, fmt.Sprintf("Content-Type %.80q: must be %s", got, want))
}
