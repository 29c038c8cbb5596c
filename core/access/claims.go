package access

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/wardline/wardline/core/signaling"
)

const (
	// MaxNameBytes bounds a display name, in bytes of UTF-8.
	MaxNameBytes = 256
	// MaxRegions bounds the regions of a token.
	MaxRegions = 32

	idRule = "must be 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit"
)

// visitClaim is the value of Claim.
type visitClaim struct {
	Tenant    string   `json:"tenant"`
	Encounter string   `json:"encounter"`
	Role      Role     `json:"role"`
	Name      string   `json:"name,omitempty"`
	Regions   []string `json:"regions,omitempty"`
	E2EE      bool     `json:"e2ee,omitempty"`
}

// claims are those of both kinds of token (RFC 7519, section 4).
type claims struct {
	jwt.Claims
	Visit *visitClaim `json:"https://wardline.health/claims/visit,omitempty"`
}

// refuse never gets a value from the token: names and identifiers must not reach a log by way of a refusal.
func refuse(code Code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// checkTimes demands exp and nbf, at most MaxTokenTTL apart, around now; exp may be past by as much as late.
func (c *claims) checkTimes(now time.Time, late time.Duration) *Refusal {
	if c.Expiry == nil || c.NotBefore == nil {
		return refuse(CodeClaims, "exp and nbf are required")
	}
	if *c.Expiry < 0 || *c.NotBefore < 0 {
		return refuse(CodeClaims, "exp and nbf must be seconds since 1970")
	}
	if life := int64(*c.Expiry) - int64(*c.NotBefore); life <= 0 || life > int64(MaxTokenTTL/time.Second) {
		return refuse(CodeClaims, "exp - nbf is %d s, must be over 0 and at most %d s", life, int64(MaxTokenTTL/time.Second))
	}
	if ago := now.Unix() - int64(*c.Expiry); ago > int64((leeway+late)/time.Second) {
		return refuse(CodeExpired, "ended %d s ago", ago)
	}
	if early := int64(*c.NotBefore) - now.Unix(); early > int64(leeway/time.Second) {
		return refuse(CodeNotYetValid, "begins in %d s", early)
	}
	return nil
}

// grant checks the claims of a join token, but not who issued it nor when it is valid.
func (c *claims) grant() (Grant, *Refusal) {
	if c.Visit == nil {
		return Grant{}, refuse(CodeClaims, "%s is required", Claim)
	}
	grant := Grant{
		Tenant: c.Visit.Tenant, Encounter: c.Visit.Encounter, Participant: c.Subject,
		Role: c.Visit.Role, Name: c.Visit.Name, Regions: c.Visit.Regions, E2EE: c.Visit.E2EE,
		TokenID: c.ID, Expires: c.Expiry.Time(),
	}
	if refusal := grant.check(); refusal != nil {
		return Grant{}, refusal
	}
	return grant, nil
}

// check says which member of a grant is out of range.
func (g Grant) check() *Refusal {
	for _, id := range []struct{ name, value string }{
		{"tenant", g.Tenant}, {"encounter", g.Encounter}, {"sub", g.Participant},
	} {
		if !signaling.ValidID(id.value) {
			return refuse(CodeClaims, "%s %s", id.name, idRule)
		}
	}
	if g.TokenID == "" || len(g.TokenID) > 128 || strings.ContainsFunc(g.TokenID, notPrintable) {
		return refuse(CodeClaims, "jti must be 1 to 128 printable bytes")
	}
	if !slices.Contains(Roles(), g.Role) {
		return refuse(CodeClaims, "role must be one of %s", roleNames())
	}
	if !ValidName(g.Name) {
		return refuse(CodeClaims, "name must be printable and at most %d bytes", MaxNameBytes)
	}
	if len(g.Regions) > MaxRegions {
		return refuse(CodeClaims, "%d regions, at most %d", len(g.Regions), MaxRegions)
	}
	for i, region := range g.Regions {
		if !signaling.ValidID(region) {
			return refuse(CodeClaims, "region %d %s", i+1, idRule)
		}
	}
	return nil
}

// ValidName reports whether a token can hold a display name: printable, and at most MaxNameBytes.
func ValidName(name string) bool {
	return len(name) <= MaxNameBytes && utf8.ValidString(name) && !strings.ContainsFunc(name, notPrintable)
}

// notPrintable finds control and formatting characters, such as those that reverse the reading direction.
// The joiners U+200C and U+200D are part of ordinary names in several scripts.
func notPrintable(r rune) bool {
	return r != '\u200c' && r != '\u200d' && !unicode.IsGraphic(r)
}

// CheckEncounter refuses the use of a token at another encounter than its own (CodeOtherEncounter).
func (g Grant) CheckEncounter(encounter string) error {
	if g.Encounter != encounter {
		return refuse(CodeOtherEncounter, "the token is for another encounter")
	}
	return nil
}
