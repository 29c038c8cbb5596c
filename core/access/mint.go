package access

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/wardline/wardline/core/signaling"
)

// Signer signs with a key it holds; secrets.Keeper is one. The payload may need the key's id, so it is
// called with it.
type Signer interface {
	Sign(ctx context.Context, payload func(keyID string) ([]byte, error)) ([]byte, error)
}

// KeySigner signs with a private key at hand, as a tenant does.
type KeySigner struct {
	ID  string // the "kid" under which the public half is registered
	Key ed25519.PrivateKey
}

var _ Signer = KeySigner{}

// Sign implements Signer.
func (k KeySigner) Sign(_ context.Context, payload func(keyID string) ([]byte, error)) ([]byte, error) {
	if len(k.Key) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("signing key of %d bytes, must be %d", len(k.Key), ed25519.PrivateKeySize)
	}
	message, err := payload(k.ID)
	if err != nil {
		return nil, err
	}
	return ed25519.Sign(k.Key, message), nil
}

// Mint signs a join token as Wardline. It ends at g.Expires and begins at notBefore, or now if that is zero;
// a missing TokenID is filled with a random one. A grant that verification would refuse is not signed: the
// error is then a Refusal.
func Mint(ctx context.Context, s Signer, g Grant, notBefore, now time.Time) (string, error) {
	return mintJoin(ctx, s, ownIssuer, g, notBefore, now)
}

// MintTenant signs a join token as the tenant of the grant, whose registered key s holds. Otherwise it is Mint.
func MintTenant(ctx context.Context, s Signer, g Grant, notBefore, now time.Time) (string, error) {
	return mintJoin(ctx, s, tenantIssuerPrefix+g.Tenant, g, notBefore, now)
}

func mintJoin(ctx context.Context, s Signer, issuer string, g Grant, notBefore, now time.Time) (string, error) {
	if notBefore.IsZero() {
		notBefore = now
	}
	if g.TokenID == "" {
		g.TokenID = rand.Text()
	}
	c := newClaims(issuer, joinAudience, g.Participant, g.TokenID, notBefore, g.Expires, now)
	c.Visit = &visitClaim{
		Tenant: g.Tenant, Encounter: g.Encounter, Role: g.Role, Name: g.Name, Regions: g.Regions, E2EE: g.E2EE,
	}
	if refusal := g.check(); refusal != nil {
		return "", fmt.Errorf("mint join token: %w", refusal)
	}
	// Times are checked as of the token's own beginning: tokens for later are fine, ended ones are not.
	if refusal := c.checkTimes(later(now, notBefore), 0); refusal != nil {
		return "", fmt.Errorf("mint join token: %w", refusal)
	}
	return sign(ctx, s, c)
}

// MintAPI signs an API token of a tenant with its registered key, valid from now for ttl.
func MintAPI(key ed25519.PrivateKey, keyID, tenant string, now time.Time, ttl time.Duration) (string, error) {
	if !signaling.ValidID(tenant) {
		return "", fmt.Errorf("mint API token: tenant %.70q: %s", tenant, idRule)
	}
	c := newClaims(tenantIssuerPrefix+tenant, apiAudience, tenant, rand.Text(), now, now.Add(ttl), now)
	if refusal := c.checkTimes(now, 0); refusal != nil {
		return "", fmt.Errorf("mint API token: %w", refusal)
	}
	return sign(context.Background(), KeySigner{ID: keyID, Key: key}, c)
}

func newClaims(issuer, audience, subject, id string, notBefore, expires, now time.Time) *claims {
	return &claims{Claims: jwt.Claims{
		Issuer: issuer, Audience: jwt.Audience{audience}, Subject: subject, ID: id,
		NotBefore: jwt.NewNumericDate(notBefore), Expiry: jwt.NewNumericDate(expires), IssuedAt: jwt.NewNumericDate(now),
	}}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// sign writes the JWS compact serialization (RFC 7515, section 7.1) around a signature made elsewhere.
func sign(ctx context.Context, s Signer, c *claims) (string, error) {
	payload, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	var input string
	signature, err := s.Sign(ctx, func(keyID string) ([]byte, error) {
		header, err := json.Marshal(map[string]string{
			"alg": string(jose.EdDSA), "kid": keyID, "typ": "JWT",
		})
		input = base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(payload)
		return []byte(input), err
	})
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}
