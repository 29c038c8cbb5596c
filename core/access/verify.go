package access

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/signaling"
)

// MaxTokenBytes bounds a token; a longer one is CodeMalformed.
const MaxTokenBytes = 8 << 10

// maxKeyrings bounds how many tenants' keys are cached.
const maxKeyrings = 4096

// KeySource lists the keys Wardline signs with; secrets.Keeper is one.
type KeySource interface {
	PublicKeys(ctx context.Context) ([]secrets.PublicKey, error)
}

// TenantKeys lists a tenant's registered keys, or fails with secrets.ErrNotFound if it has none.
type TenantKeys interface {
	TenantKeys(ctx context.Context, tenant string) ([]secrets.PublicKey, error)
}

// Verifier checks tokens offline against cached keys. It is safe for concurrent use.
type Verifier struct {
	own     *keyring
	tenants TenantKeys
	now     func() time.Time

	mu       sync.Mutex
	keyrings map[string]*keyring // by tenant
}

// NewVerifier accepts tokens signed by keys (issuer "wardline") and by tenants' registered keys (issuer
// "tenant:ID"). A key that is not known yet is looked for at its source, at most once in three seconds; keys
// at hand go on working while the source fails.
func NewVerifier(keys KeySource, tenants TenantKeys, now func() time.Time) *Verifier {
	return &Verifier{
		own:     &keyring{load: keys.PublicKeys, now: now},
		tenants: tenants, now: now, keyrings: make(map[string]*keyring),
	}
}

// Join verifies a join token. The error is a Refusal, or says that no keys could be had to judge it with
// (errors.Is secrets.ErrUnavailable where the keeper says so).
func (v *Verifier) Join(ctx context.Context, token string) (Grant, error) {
	return v.join(ctx, token, 0)
}

// Resume verifies a join token for going on with a session that it began: the token may have expired since, by
// at most MaxTokenTTL. The caller checks that the session is one of the grant's participant. Errors are as those
// of Join.
func (v *Verifier) Resume(ctx context.Context, token string) (Grant, error) {
	return v.join(ctx, token, MaxTokenTTL)
}

// join verifies a join token that may have expired by as much as late.
func (v *Verifier) join(ctx context.Context, token string, late time.Duration) (Grant, error) {
	c, err := v.verify(ctx, token, joinAudience, late)
	if err != nil {
		return Grant{}, err
	}
	grant, refusal := c.grant()
	if refusal != nil {
		return Grant{}, refusal
	}
	if c.Issuer != ownIssuer && c.Issuer != tenantIssuerPrefix+grant.Tenant {
		return Grant{}, refuse(CodeIssuer, "a tenant signs for itself only")
	}
	return grant, nil
}

// API verifies an API token and returns the tenant it speaks for. Errors are as those of Join.
func (v *Verifier) API(ctx context.Context, token string) (tenant string, err error) {
	c, err := v.verify(ctx, token, apiAudience, 0)
	if err != nil {
		return "", err
	}
	tenant, found := strings.CutPrefix(c.Issuer, tenantIssuerPrefix)
	if !found {
		return "", refuse(CodeIssuer, "must be %sID", tenantIssuerPrefix)
	}
	return tenant, nil
}

// verify checks everything that both kinds of token have in common. late is added to the leeway of exp.
func (v *Verifier) verify(ctx context.Context, token, audience string, late time.Duration) (*claims, error) {
	parsed, keyID, refusal := parse(token)
	if refusal != nil {
		return nil, refusal
	}
	// The issuer says whose key to look for; it is trusted only once that key verified the signature.
	var unverified struct {
		Issuer string `json:"iss"`
	}
	if err := parsed.UnsafeClaimsWithoutVerification(&unverified); err != nil {
		return nil, refuse(CodeMalformed, "the claims are not a JSON object with a text iss")
	}
	keys, refusal := v.keysOf(ctx, unverified.Issuer)
	if refusal != nil {
		return nil, refusal
	}
	key, found, err := keys.key(ctx, keyID)
	if err != nil {
		return nil, fmt.Errorf("verify token: keys of its issuer: %w", err)
	}
	if !found {
		return nil, refuse(CodeUnknownKey, "not a key of the token's issuer")
	}
	// Without a destination only the signature is checked, so a bad one and bad claims can be told apart.
	if err := parsed.Claims(key); err != nil {
		return nil, refuse(CodeSignature, "does not verify")
	}
	var c claims
	if err := parsed.UnsafeClaimsWithoutVerification(&c); err != nil { // verified just above
		return nil, refuse(CodeClaims, "a claim has the wrong type")
	}
	if !c.Audience.Contains(audience) {
		return nil, refuse(CodeAudience, "must be %s", audience)
	}
	if refusal := c.checkTimes(v.now(), late); refusal != nil {
		return nil, refusal
	}
	return &c, nil
}

// parse accepts the JWS compact serialization with EdDSA only, whatever else the header offers.
func parse(token string) (parsed *jwt.JSONWebToken, keyID string, refusal *Refusal) {
	if len(token) > MaxTokenBytes {
		return nil, "", refuse(CodeMalformed, "%d bytes, at most %d", len(token), MaxTokenBytes)
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.EdDSA})
	if _, unexpected := errors.AsType[*jose.ErrUnexpectedSignatureAlgorithm](err); unexpected {
		return nil, "", refuse(CodeAlgorithm, "must be %s", jose.EdDSA)
	}
	if err != nil || len(parsed.Headers) != 1 {
		return nil, "", refuse(CodeMalformed, "not a signed JWT in compact form")
	}
	return parsed, parsed.Headers[0].KeyID, nil
}

// metKey marks a context of WithMetIssuers.
type metKey struct{}

// WithMetIssuers returns a context in which a Verifier refuses tokens of tenants it has not met yet
// (CodeUnknownKey) instead of looking for their keys: a doubtful sender who invents tenants then costs nothing,
// and good tokens of the tenants at work here go on being accepted.
func WithMetIssuers(ctx context.Context) context.Context {
	return context.WithValue(ctx, metKey{}, true)
}

// keysOf returns the keys that may sign for an issuer.
func (v *Verifier) keysOf(ctx context.Context, issuer string) (*keyring, *Refusal) {
	if issuer == ownIssuer {
		return v.own, nil
	}
	tenant, found := strings.CutPrefix(issuer, tenantIssuerPrefix)
	if !found || !signaling.ValidID(tenant) {
		return nil, refuse(CodeIssuer, "must be %s or %sID", ownIssuer, tenantIssuerPrefix)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if keys := v.keyrings[tenant]; keys != nil {
		return keys, nil
	}
	if ctx.Value(metKey{}) != nil {
		return nil, refuse(CodeUnknownKey, "not an issuer met before, and too many refused tokens to look for it")
	}
	if len(v.keyrings) >= maxKeyrings {
		v.forget()
	}
	keys := &keyring{now: v.now, load: func(ctx context.Context) ([]secrets.PublicKey, error) {
		return v.tenants.TenantKeys(ctx, tenant)
	}}
	v.keyrings[tenant] = keys
	return keys, nil
}

// forget makes room: first the tenants that do not exist, which anybody can invent, else everything.
func (v *Verifier) forget() {
	for tenant, keys := range v.keyrings {
		if keys.empty() {
			delete(v.keyrings, tenant)
		}
	}
	if len(v.keyrings) >= maxKeyrings {
		clear(v.keyrings)
	}
}
