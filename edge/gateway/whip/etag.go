package whip

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/edge/gateway/problem"
)

// etag is the strong entity tag of a session's ICE generation (RFC 9725 section 4.3.1). It is a function
// of what the record holds, so that a gateway that has just started knows it too.
func etag(session string, restarts uint32) string {
	sum := sha256.Sum256([]byte(session + "/" + strconv.FormatUint(uint64(restarts), 10)))
	return `"` + hex.EncodeToString(sum[:12]) + `"`
}

// precondition is what an If-Match header asks for.
type precondition struct {
	any  bool
	tags []string
}

// ifMatch parses If-Match (RFC 9110 section 13.1.1); ok is false if there is none. Weak tags never
// match strongly and are left out.
func ifMatch(header http.Header) (p precondition, ok bool) {
	value := strings.TrimSpace(strings.Join(header.Values("If-Match"), ","))
	if value == "" {
		return precondition{}, false
	}
	if value == "*" {
		return precondition{any: true}, true
	}
	for tag := range strings.SplitSeq(value, ",") {
		if tag = strings.TrimSpace(tag); strings.HasPrefix(tag, `"`) {
			p.tags = append(p.tags, tag)
		}
	}
	return p, true
}

func (p precondition) holds(current string) bool {
	return p.any || slices.Contains(p.tags, current)
}

// find reads a participant's session from the encounter's record.
func (h *Handler) find(ctx context.Context, k resource) (encounter.Session, error) {
	e, err := h.Store.Get(ctx, k.key)
	if err != nil {
		return encounter.Session{}, err
	}
	session, ok := e.Participants[k.participant].Sessions[k.session]
	if !ok || session.Kind != k.kind {
		return encounter.Session{}, fmt.Errorf("%w: %s", ErrNotFound, k.session)
	}
	return session, nil
}

// restarted counts an ICE restart in the record and returns the session's new entity tag.
func (h *Handler) restarted(ctx context.Context, k resource) (string, error) {
	var restarts uint32
	_, err := encounter.Change(ctx, h.Store, k.key, func(e *encounter.Encounter) error {
		sessions := e.Participants[k.participant].Sessions
		session, ok := sessions[k.session]
		if !ok {
			return fmt.Errorf("%w: %s", ErrNotFound, k.session)
		}
		session.Restarts++
		restarts = session.Restarts
		sessions[k.session] = session
		return nil
	})
	if err != nil {
		return "", err
	}
	return etag(k.session, restarts), nil
}

// checkMatch refuses a request whose If-Match does not name the session as it is.
func checkMatch(p precondition, current string) error {
	if p.holds(current) {
		return nil
	}
	return problem.New(http.StatusPreconditionFailed, problem.PreconditionFailed,
		"If-Match names another ICE generation than the session's current one")
}
