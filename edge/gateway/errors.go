package gateway

import (
	"errors"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/placement"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway/sfulink"
)

// Codes of error messages that have no error of their own (docs/protocol.md).
const (
	codeInvalid     = "invalid"
	codeBusy        = "busy"
	codeUnavailable = "unavailable"
	codeThrottled   = "rate-limited"
	codeBadMessage  = "bad-message"
)

// codes maps errors to the codes a client is told; the first that matches wins.
var codes = []struct {
	err  error
	code string
}{
	{errRate, codeThrottled},
	{errPace, codeThrottled},
	{signaling.ErrTooLarge, "too-large"},
	{signaling.ErrUnknownType, "unknown-type"},
	{signaling.ErrInvalid, codeInvalid},
	{signaling.ErrMalformed, codeBadMessage},
	{errDirection, codeInvalid},
	{errNotAllowed, "not-allowed"},
	{encounter.ErrEnded, encounter.ErrEnded.Error()},
	{encounter.ErrLocked, encounter.ErrLocked.Error()},
	{encounter.ErrRemoved, encounter.ErrRemoved.Error()},
	{encounter.ErrUnknownParticipant, encounter.ErrUnknownParticipant.Error()},
	{encounter.ErrRegion, encounter.ErrRegion.Error()},
	{encounter.ErrFull, encounter.ErrFull.Error()},
	{encounter.ErrTooLarge, encounter.ErrFull.Error()},
	{encounter.ErrQuota, encounter.ErrQuota.Error()},
	{encounter.ErrEncrypted, encounter.ErrEncrypted.Error()},
	{encounter.ErrNotEncrypted, encounter.ErrNotEncrypted.Error()},
	{encounter.ErrKeyChanged, encounter.ErrKeyChanged.Error()},
	{sfulink.ErrRefused, codeBusy},
	{placement.ErrRefused, codeBusy},
	{placement.ErrNoServer, "no-media-server"},
}

// codeOf returns the code of an error; what nobody foresaw is "unavailable".
func codeOf(err error) string {
	if code := access.RefusalCode(err); code != "" {
		return string(code)
	}
	for _, known := range codes {
		if errors.Is(err, known.err) {
			return known.code
		}
	}
	return codeUnavailable
}

// maxExplanation bounds an error's text towards a client.
const maxExplanation = 300

// explain returns an error's text if it is about what the client said, and nothing of our inside otherwise.
func explain(err error) string {
	if codeOf(err) == codeUnavailable {
		return "not possible at the moment"
	}
	text := err.Error()
	if len(text) > maxExplanation {
		text = text[:maxExplanation]
	}
	return text
}
