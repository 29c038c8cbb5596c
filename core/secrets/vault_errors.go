package secrets

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/hashicorp/vault/api"
)

// errNoAnswer is what a read of nothing comes back as.
var errNoAnswer = errors.New("nothing there")

// errRejected says that Vault understood a request and rejects its content; what that means depends on the request.
var errRejected = errors.New("rejected")

// errInternal is Vault's status 500, which transit also answers with for a version that was just retired.
var errInternal = fmt.Errorf("%w: internal error", ErrUnavailable)

// maxReason bounds how much of Vault's own text is told, in bytes.
const maxReason = 300

// tokenText is what Vault's tokens and unwrapped values in an answer look like; none is expected in an error's text.
var tokenText = regexp.MustCompile(`\b(hv[sbr]|[sbr])\.[A-Za-z0-9_-]{20,}|eyJ[A-Za-z0-9_-]{10,}[A-Za-z0-9_.-]*`)

// vaultError says what became of a request to a path, without the address, what was sent or any token.
func vaultError(path string, err error) error {
	if err == nil {
		return nil
	}
	reason, kind := classify(err)
	if reason == "" {
		return fmt.Errorf("vault %s: %w", path, kind)
	}
	return fmt.Errorf("vault %s: %w: %s", path, kind, reason)
}

// classify tells why a request failed, in Vault's words, and what that means to the asker.
func classify(err error) (reason string, kind error) {
	if errors.Is(err, errNoAnswer) {
		return "", ErrNotFound
	}
	response, ok := errors.AsType[*api.ResponseError](err)
	if !ok {
		return transportReason(err), ErrUnavailable
	}
	reason = told(response)
	switch status := response.StatusCode; {
	case status == http.StatusForbidden || status == http.StatusUnauthorized:
		return reason, ErrDenied
	case status == http.StatusNotFound:
		return reason, ErrNotFound
	case status == http.StatusBadRequest && strings.Contains(reason, "key not found"):
		return reason, ErrNotFound // how transit says it
	case status == http.StatusServiceUnavailable && strings.Contains(reason, "sealed"):
		return "sealed", ErrUnavailable
	case status == http.StatusInternalServerError:
		return reason, errInternal
	case rejects(status):
		return reason, errRejected
	default:
		return strings.TrimSpace(fmt.Sprintf("status %d %s", status, reason)), ErrUnavailable
	}
}

// rejects tells the statuses that are about what was asked from those that are about when: a limit, a timeout, a
// replica that is behind, and 470 and up, which is how a standby says that it does not serve.
func rejects(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusRequestTimeout, http.StatusPreconditionFailed:
		return false
	}
	return status >= 400 && status < 470
}

// transportReason leaves out the URL, which the operator knows and the log need not.
func transportReason(err error) string {
	timeout, ok := errors.AsType[net.Error](err)
	if errors.Is(err, context.DeadlineExceeded) || ok && timeout.Timeout() {
		return "no answer in time"
	}
	if inner, ok := errors.AsType[*url.Error](err); ok {
		err = inner.Err
	}
	return redact(err.Error())
}

// told is Vault's own text on one line.
func told(response *api.ResponseError) string {
	return redact(strings.Join(response.Errors, "; "))
}

func redact(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	text = tokenText.ReplaceAllString(text, "[redacted]")
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + " ..."
	}
	return text
}

// refused reports that a request came back for lack of permission, which is also how a lost token shows.
func refused(err error) bool {
	response, ok := errors.AsType[*api.ResponseError](err)
	return ok && response.StatusCode == http.StatusForbidden
}
