package problem

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/secrets"
)

// retrySoon is what a client is told when something of ours is briefly out of reach.
const retrySoon = 2 * time.Second

// known maps the errors a request can run into; the first that matches wins.
var known = []struct {
	err    error
	status int
	code   string
	detail string
}{
	{encounter.ErrEnded, http.StatusConflict, "encounter-ended", "the encounter has ended"},
	{encounter.ErrLocked, http.StatusForbidden, "encounter-locked", "the encounter takes no new participants"},
	{encounter.ErrRemoved, http.StatusForbidden, "participant-removed", "the participant was removed from the encounter"},
	{encounter.ErrUnknownParticipant, http.StatusNotFound, "participant-unknown", "the encounter has no such participant"},
	{encounter.ErrRegion, http.StatusForbidden, "region-not-allowed", "policy does not allow the encounter in this region"},
	{encounter.ErrFull, http.StatusConflict, "encounter-full", "the encounter has as many participants as it can have"},
	{encounter.ErrTooLarge, http.StatusConflict, "encounter-full", "the encounter's record has no room for more"},
	{
		encounter.ErrEncrypted, http.StatusForbidden, "encounter-encrypted",
		"the encounter is end-to-end encrypted, and WHIP and WHEP sessions cannot hold its keys: join with a browser",
	},
	{encounter.ErrNotFound, http.StatusNotFound, NotFound, "no such encounter"},
	{encounter.ErrConflict, http.StatusServiceUnavailable, Unavailable, "the encounter is changing too fast, try again"},
	{discovery.ErrUnavailable, http.StatusServiceUnavailable, Unavailable, "the record store cannot be reached"},
	{secrets.ErrUnavailable, http.StatusServiceUnavailable, Unavailable, "the key store cannot be reached"},
	{context.DeadlineExceeded, http.StatusServiceUnavailable, Unavailable, "not answered in time"},
	{context.Canceled, http.StatusServiceUnavailable, Unavailable, "the request was given up"},
}

// Of translates an error. A *Problem in the chain is returned as it is; an error nobody foresaw becomes
// a 500 that says nothing about its inside, so the caller should log it.
func Of(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if refusal, ok := errors.AsType[*access.Refusal](err); ok {
		return ofRefusal(refusal)
	}
	if full, ok := errors.AsType[*encounter.QuotaError](err); ok {
		return New(http.StatusTooManyRequests, encounter.ErrQuota.Error(), full.Error())
	}
	for _, k := range known {
		if errors.Is(err, k.err) {
			p := New(k.status, k.code, k.detail)
			if k.status == http.StatusServiceUnavailable {
				p.RetryAfter = retrySoon
			}
			return p
		}
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return TooLong(tooLarge.Limit)
	}
	return New(http.StatusInternalServerError, Internal, "the request could not be completed")
}

func ofRefusal(refusal *access.Refusal) *Problem {
	code := string(refusal.Code)
	if refusal.Code == access.CodeOtherEncounter {
		return New(http.StatusForbidden, code, refusal.Detail)
	}
	p := New(http.StatusUnauthorized, code, refusal.Detail)
	p.Challenge = `Bearer realm="wardline", error="invalid_token", error_description="` + code + `"`
	return p
}
