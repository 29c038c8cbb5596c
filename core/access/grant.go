package access

import (
	"errors"
	"time"
)

// Names in the tokens.
const (
	// joinAudience is the "aud" of a join token, apiAudience of a tenant's API token.
	joinAudience = "wardline-join"
	apiAudience  = "wardline-api"
	// ownIssuer is the "iss" of tokens Wardline signs; a tenant signs as "tenant:" + its id.
	ownIssuer          = "wardline"
	tenantIssuerPrefix = "tenant:"
	// Claim is the namespaced claim that carries a Grant.
	Claim = "https://wardline.health/claims/visit"
	// leeway is the clock difference tolerated in "exp" and "nbf".
	leeway = 30 * time.Second
	// MaxTokenTTL bounds exp - nbf of any token.
	MaxTokenTTL = 24 * time.Hour
)

// Grant is what a verified join token allows its bearer.
type Grant struct {
	Tenant      string
	Encounter   string
	Participant string // the token's "sub"
	Role        Role
	// Name is how the page calls the participant; it never enters a log, a URL or a metric.
	Name string
	// Regions lists where policy allows the encounter, home first. Empty means any.
	Regions []string
	// E2EE says that the encounter is end-to-end encrypted. A token without it says nothing: the record decides.
	E2EE    bool
	TokenID string // "jti"
	Expires time.Time
}

// Code tells refusals apart; the codes are documented in docs/protocol.md and appear in audit lines.
type Code string

// Refusal codes.
const (
	CodeMalformed      Code = "token-malformed"
	CodeAlgorithm      Code = "token-algorithm" // anything but EdDSA, "none" included
	CodeUnknownKey     Code = "token-unknown-key"
	CodeSignature      Code = "token-signature"
	CodeExpired        Code = "token-expired"
	CodeNotYetValid    Code = "token-not-yet-valid"
	CodeAudience       Code = "token-audience"
	CodeIssuer         Code = "token-issuer"
	CodeClaims         Code = "token-claims" // required claim missing or out of range
	CodeOtherEncounter Code = "token-other-encounter"
)

// Refusal is why a token was not accepted. Its text never contains the token.
type Refusal struct {
	Code   Code
	Detail string
}

// Error implements error.
func (r *Refusal) Error() string { return string(r.Code) + ": " + r.Detail }

// RefusalCode returns the code of the Refusal in err's chain, or "".
func RefusalCode(err error) Code {
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		return refusal.Code
	}
	return ""
}
