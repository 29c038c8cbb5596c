package secrets

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
)

// maxIdentityBytes bounds what is taken for a workload identity.
const maxIdentityBytes = 16 << 10

// identity is a Nomad workload identity in a file that Nomad replaces now and then. Not safe for concurrent use.
type identity struct {
	path string
	role string
	// client has no token: one that is refused would make Vault refuse the login as well.
	client *vaultClient
	// tried is what the last login was attempted with.
	tried []byte
}

func (i *identity) read() ([]byte, error) {
	file, err := os.Open(i.path)
	if err != nil {
		return nil, fmt.Errorf("workload identity: %w", err)
	}
	defer file.Close() //nolint:errcheck // nothing was written
	content, err := io.ReadAll(io.LimitReader(file, maxIdentityBytes+1))
	content = bytes.TrimSpace(content)
	switch {
	case err != nil:
		return nil, fmt.Errorf("workload identity: %w", err)
	case len(content) == 0:
		return nil, fmt.Errorf("workload identity %s: empty", i.path)
	case len(content) > maxIdentityBytes:
		return nil, fmt.Errorf("workload identity %s: over %d bytes", i.path, maxIdentityBytes)
	}
	return content, nil
}

// login exchanges the identity for a token. A refusal is ErrDenied and says which times or clocks are to blame if it
// is about time; a file that is not there yet is ErrUnavailable, since Nomad may be about to write it.
func (i *identity) login(ctx context.Context) (*api.Secret, error) {
	jwt, err := i.read()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	i.tried = jwt
	path := "auth/" + LoginMount + "/login"
	secret, err := i.client.api.Logical().WriteWithContext(ctx, path, map[string]any{"role": i.role, "jwt": string(jwt)})
	if err == nil && (secret == nil || secret.Auth == nil || secret.Auth.ClientToken == "") {
		return nil, fmt.Errorf("vault %s: %w: the answer has no token", path, ErrUnavailable)
	}
	if err == nil {
		return secret, nil
	}
	refusal := vaultError(path, err)
	if !errors.Is(refusal, errRejected) && !errors.Is(refusal, ErrDenied) {
		return nil, refusal
	}
	refusal = fmt.Errorf("login as %q: %w: %w", i.role, ErrDenied, refusal)
	if about := timeClaim(refusal.Error()); about != "" {
		offset, known := i.client.clockOffset(ctx)
		refusal = fmt.Errorf("%w; %s", refusal, explainTimes(about, jwt, time.Now(), offset, known))
	}
	return nil, refusal
}

// timeClaim returns the time claim that a refusal is about, or nothing.
func timeClaim(refusal string) string {
	for _, claim := range []string{"exp", "nbf", "iat"} {
		if strings.Contains(refusal, "("+claim+") claim") {
			return claim
		}
	}
	return ""
}

// clockTolerance is how far apart clocks are in good order.
const clockTolerance = 5 * time.Second

// explainTimes says what an operator should look at: the clocks, or whoever should have renewed the identity. offset
// is how far Vault's clock is ahead of now, if known.
func explainTimes(claim string, jwt []byte, now time.Time, offset time.Duration, known bool) string {
	clocks := "Vault's clock could not be asked"
	switch {
	case known && offset.Abs() <= clockTolerance:
		clocks = "this machine's clock agrees with Vault's"
		if claim != "exp" {
			clocks += ": check that of the Nomad servers"
		}
	case known && offset > 0:
		clocks = fmt.Sprintf("Vault's clock is %s ahead of this machine's: check the clocks", offset)
	case known:
		clocks = fmt.Sprintf("Vault's clock is %s behind this machine's: check the clocks", -offset)
	}
	at, ok := claimTime(jwt, claim)
	if !ok {
		return clocks
	}
	word := map[string]string{"exp": "ends", "nbf": "begins", "iat": "was issued"}[claim]
	return fmt.Sprintf("the workload identity %s at %s, here it is %s; %s",
		word, at.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339), clocks)
}

// claimTime reads a NumericDate (RFC 7519, section 2) from a token whose signature somebody else checks.
func claimTime(jwt []byte, claim string) (time.Time, bool) {
	parts := strings.Split(string(jwt), ".")
	if len(parts) != 3 {
		return time.Time{}, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}, false
	}
	var claims map[string]json.RawMessage
	if json.Unmarshal(payload, &claims) != nil {
		return time.Time{}, false
	}
	var seconds float64
	// Beyond the year 9999 a time has no text in RFC 3339.
	const latest = 253402300799
	if json.Unmarshal(claims[claim], &seconds) != nil || seconds < 0 || seconds > latest {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), 0), true
}

// wait rests for at most so long, and less where the file has changed since the last attempt.
func (i *identity) wait(ctx context.Context, rest, watch time.Duration) {
	deadline := time.NewTimer(rest)
	defer deadline.Stop()
	look := time.NewTicker(watch)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-deadline.C:
			return
		case <-look.C:
			if now, err := i.read(); err == nil && !bytes.Equal(now, i.tried) {
				return
			}
		}
	}
}
