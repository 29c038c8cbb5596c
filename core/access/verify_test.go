package access

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/secrets"
)

func TestJoinTokenCarriesItsGrant(t *testing.T) {
	for name, mint := range map[string]func(context.Context, Signer, Grant, time.Time, time.Time) (string, error){
		"signed by Wardline": func(ctx context.Context, _ Signer, g Grant, a, b time.Time) (string, error) {
			return Mint(ctx, newKey("own"), g, a, b)
		},
		"signed by the tenant": MintTenant,
	} {
		t.Run(name, func(t *testing.T) {
			token, err := mint(t.Context(), newKey("clinic-key"), clinicGrant(), time.Time{}, noon)
			require.NoError(t, err)
			grant, err := newWorld().verifier.Join(t.Context(), token)
			require.NoError(t, err)
			require.True(t, clinicGrant().Expires.Equal(grant.Expires))
			grant.Expires = clinicGrant().Expires
			require.Equal(t, clinicGrant(), grant)
		})
	}
}

func TestForgedTokenIsAcceptedUnchanged(t *testing.T) {
	_, err := newWorld().verifier.Join(t.Context(), newForged().token())
	require.NoError(t, err, "otherwise the refusals below prove nothing")
}

// hs256 signs with the public key as if it were a shared secret, the classic confusion of algorithms.
func hs256(f forged) string {
	f.header["alg"] = "HS256"
	input, _, _ := cutLast(f.token())
	mac := hmac.New(sha256.New, newKey("own").public().Key)
	mac.Write([]byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func cutLast(token string) (before, after string, found bool) {
	i := strings.LastIndexByte(token, '.')
	return token[:i], token[i+1:], true
}

func TestRefusedJoinTokens(t *testing.T) {
	set := func(change func(*forged)) func() string {
		return func() string {
			f := newForged()
			change(&f)
			return f.token()
		}
	}
	header := func(name string, value any) func() string {
		return set(func(f *forged) { f.header[name] = value })
	}
	claim := func(name string, value any) func() string {
		return set(func(f *forged) { f.claims[name] = value })
	}
	visit := func(name string, value any) func() string {
		return set(func(f *forged) { f.visit[name] = value })
	}
	text := func(token string) func() string { return func() string { return token } }
	for _, test := range []struct {
		name  string
		token func() string
		want  Code
	}{
		{"empty", text(""), CodeMalformed},
		{"garbage", text("garbage"), CodeMalformed},
		{"two parts", text("a.b"), CodeMalformed},
		{"four parts", text("a.b.c.d"), CodeMalformed},
		{"too long", text(strings.Repeat("a", MaxTokenBytes+1)), CodeMalformed},
		{"JSON serialization", text(`{"payload":"e30","signatures":[]}`), CodeMalformed},
		{"claims no object", func() string {
			return newForged().signed(encoded(newForged().header) + "." + encoded([]int{1}))
		}, CodeMalformed},
		{"issuer no text", claim("iss", 7), CodeMalformed},

		{"alg none", func() string {
			f := newForged()
			f.header["alg"] = "none"
			input, _, _ := cutLast(f.token())
			return input + "."
		}, CodeAlgorithm},
		{"alg none signed", header("alg", "none"), CodeAlgorithm},
		{"alg None", header("alg", "None"), CodeAlgorithm},
		{"alg missing", header("alg", nil), CodeAlgorithm},
		{"alg HS256 with the public key", func() string { return hs256(newForged()) }, CodeAlgorithm},
		{"alg RS256", header("alg", "RS256"), CodeAlgorithm},
		{"alg ES256", header("alg", "ES256"), CodeAlgorithm},

		{"issuer missing", claim("iss", nil), CodeIssuer},
		{"issuer unknown", claim("iss", "https://elsewhere.example"), CodeIssuer},
		{"issuer no tenant", claim("iss", "tenant:"), CodeIssuer},
		{"issuer a path", claim("iss", "tenant:../clinic"), CodeIssuer},
		{"tenant signs for another", set(func(f *forged) {
			f.key, f.header["kid"], f.claims["iss"], f.visit["tenant"] = newKey("clinic-key"), "clinic-key", "tenant:clinic", "other"
		}), CodeIssuer},

		{"foreign key", set(func(f *forged) { f.key, f.header["kid"] = newKey("foreign"), "foreign" }), CodeUnknownKey},
		{"no key id", header("kid", nil), CodeUnknownKey},
		{"tenant's key as Wardline", set(func(f *forged) { f.key, f.header["kid"] = newKey("clinic-key"), "clinic-key" }), CodeUnknownKey},
		{"Wardline's key as tenant", claim("iss", "tenant:clinic"), CodeUnknownKey},
		{"tenant that does not exist", claim("iss", "tenant:nobody"), CodeUnknownKey},

		{"foreign key under a known id", set(func(f *forged) { f.key = newKey("foreign") }), CodeSignature},
		{"signature missing", func() string {
			input, _, _ := cutLast(newForged().token())
			return input + "."
		}, CodeSignature},
		{"claims exchanged", func() string {
			f := newForged()
			parts := strings.Split(f.token(), ".")
			f.claims["sub"] = "provider-1"
			return parts[0] + "." + strings.Split(f.token(), ".")[1] + "." + parts[2]
		}, CodeSignature},

		{"audience missing", claim("aud", nil), CodeAudience},
		{"audience of the API", claim("aud", apiAudience), CodeAudience},
		{"audiences of others", claim("aud", []string{"a", "b"}), CodeAudience},

		{"ends before it begins", claim("exp", noon.Add(-leeway-time.Second).Unix()), CodeClaims},
		{"expired a second beyond the leeway", set(func(f *forged) {
			f.claims["nbf"], f.claims["exp"] = noon.Add(-time.Hour).Unix(), noon.Add(-leeway-time.Second).Unix()
		}), CodeExpired},
		{"begins a second beyond the leeway", claim("nbf", noon.Add(leeway+time.Second).Unix()), CodeNotYetValid},

		{"exp missing", claim("exp", nil), CodeClaims},
		{"nbf missing", claim("nbf", nil), CodeClaims},
		{"exp no number", claim("exp", "tomorrow"), CodeClaims},
		{"exp beyond time", claim("exp", 1e300), CodeClaims},
		{"nbf before time", claim("nbf", -1), CodeClaims},
		{"life too long", claim("exp", noon.Add(MaxTokenTTL+time.Second).Unix()), CodeClaims},
		{"life of the universe", claim("exp", int64(1)<<61), CodeClaims},
		{"sub missing", claim("sub", nil), CodeClaims},
		{"sub no id", claim("sub", "patient 1"), CodeClaims},
		{"e2ee no truth value", visit("e2ee", "yes"), CodeClaims},
		{"jti missing", claim("jti", nil), CodeClaims},
		{"jti too long", claim("jti", strings.Repeat("j", 129)), CodeClaims},
		{"jti with line break", claim("jti", "a\nb"), CodeClaims},
		{"visit missing", set(func(f *forged) { f.visit = nil }), CodeClaims},
		{"visit no object", set(func(f *forged) { f.visit, f.claims[Claim] = nil, "visit" }), CodeClaims},
		{"tenant missing", visit("tenant", nil), CodeClaims},
		{"encounter missing", visit("encounter", nil), CodeClaims},
		{"encounter a path", visit("encounter", "../visit"), CodeClaims},
		{"encounter too long", visit("encounter", strings.Repeat("e", 65)), CodeClaims},
		{"role missing", visit("role", nil), CodeClaims},
		{"role unknown", visit("role", "administrator"), CodeClaims},
		{"role in capitals", visit("role", "Provider"), CodeClaims},
		{"name too long", visit("name", strings.Repeat("n", MaxNameBytes+1)), CodeClaims},
		{"name with control characters", visit("name", "a\x1b[2Jb"), CodeClaims},
		{"name that turns the text around", visit("name", "a\u202eb"), CodeClaims},
		{"too many regions", visit("regions", strings.Split(strings.Repeat("north,", MaxRegions)+"north", ",")), CodeClaims},
		{"region no id", visit("regions", []string{"north", "so uth"}), CodeClaims},
	} {
		t.Run(test.name, func(t *testing.T) {
			token := test.token()
			grant, err := newWorld().verifier.Join(t.Context(), token)
			require.Equal(t, test.want, RefusalCode(err), "%v", err)
			require.Zero(t, grant)
			if token != "" {
				require.NotContains(t, err.Error(), token)
			}
			for _, personal := range []string{"Zoë", "patient 1", "../visit", "administrator"} {
				require.NotContains(t, err.Error(), personal)
			}
		})
	}
}

func TestLeewayAndSeveralAudiencesAreTolerated(t *testing.T) {
	for name, change := range map[string]func(*forged){
		"ended within the leeway": func(f *forged) {
			f.claims["nbf"], f.claims["exp"] = noon.Add(-time.Hour).Unix(), noon.Add(-leeway).Unix()
		},
		"begins within the leeway": func(f *forged) { f.claims["nbf"] = noon.Add(leeway).Unix() },
		"longest life":             func(f *forged) { f.claims["exp"] = noon.Add(MaxTokenTTL).Unix() },
		"several audiences":        func(f *forged) { f.claims["aud"] = []string{"portal", joinAudience} },
		"unknown claims":           func(f *forged) { f.claims["other"], f.visit["other"] = 1, 2 },
		"no name and no regions":   func(f *forged) { f.visit["name"] = nil },
		"a name of several words": func(f *forged) {
			f.visit["name"] = "Dr. María\u00a0José \u0646\u06cc\u0645\u200c\u0641\u0627\u0635\u0644\u0647"
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newForged()
			change(&f)
			_, err := newWorld().verifier.Join(t.Context(), f.token())
			require.NoError(t, err)
		})
	}
}

func TestGrantIsForItsEncounterOnly(t *testing.T) {
	require.NoError(t, clinicGrant().CheckEncounter("visit-1"))
	require.Equal(t, CodeOtherEncounter, RefusalCode(clinicGrant().CheckEncounter("visit-2")))
}

func TestAPITokens(t *testing.T) {
	key := newKey("clinic-key")
	token, err := MintAPI(key.Key, key.ID, "clinic", noon, time.Hour)
	require.NoError(t, err)
	w := newWorld()
	tenant, err := w.verifier.API(t.Context(), token)
	require.NoError(t, err)
	require.Equal(t, "clinic", tenant)

	_, err = w.verifier.Join(t.Context(), token)
	require.Equal(t, CodeAudience, RefusalCode(err), "an API token opens no visit")

	join, err := MintTenant(t.Context(), key, clinicGrant(), noon, noon)
	require.NoError(t, err)
	_, err = w.verifier.API(t.Context(), join)
	require.Equal(t, CodeAudience, RefusalCode(err), "a participant's token calls no API")

	f := newForged()
	f.claims["aud"] = apiAudience
	_, err = w.verifier.API(t.Context(), f.token())
	require.Equal(t, CodeIssuer, RefusalCode(err), "only tenants call the API")

	w.change(func() { w.now = noon.Add(2 * time.Hour) })
	_, err = w.verifier.API(t.Context(), token)
	require.Equal(t, CodeExpired, RefusalCode(err))
}

func TestRefusalCodeOfOtherErrors(t *testing.T) {
	require.Empty(t, RefusalCode(nil))
	require.Empty(t, RefusalCode(errors.New("other")))
	require.Equal(t, CodeExpired, RefusalCode(fmt.Errorf("join: %w", refuse(CodeExpired, "ended 5 s ago"))))
}

func TestMintingWhatWouldBeRefusedFails(t *testing.T) {
	for name, test := range map[string]struct {
		change    func(*Grant)
		notBefore time.Time
		want      Code
	}{
		"no tenant":         {func(g *Grant) { g.Tenant = "" }, noon, CodeClaims},
		"role unknown":      {func(g *Grant) { g.Role = "nurse" }, noon, CodeClaims},
		"already ended":     {func(g *Grant) { g.Expires = noon.Add(-time.Hour) }, noon.Add(-2 * time.Hour), CodeExpired},
		"ends as it begins": {func(g *Grant) { g.Expires = noon }, noon, CodeClaims},
		"no end":            {func(g *Grant) { g.Expires = time.Time{} }, noon, CodeClaims},
		"too long":          {func(g *Grant) { g.Expires = noon.Add(25 * time.Hour) }, noon, CodeClaims},
	} {
		t.Run(name, func(t *testing.T) {
			grant := clinicGrant()
			test.change(&grant)
			token, err := Mint(t.Context(), newKey("own"), grant, test.notBefore, noon)
			require.Equal(t, test.want, RefusalCode(err), "%v", err)
			require.Empty(t, token)
		})
	}
}

func TestTokenForLaterCanBeMintedNow(t *testing.T) {
	w, grant := newWorld(), clinicGrant()
	tomorrow := noon.Add(24 * time.Hour)
	grant.Expires = tomorrow.Add(time.Hour)
	token, err := Mint(t.Context(), newKey("own"), grant, tomorrow, noon)
	require.NoError(t, err)
	_, err = w.verifier.Join(t.Context(), token)
	require.Equal(t, CodeNotYetValid, RefusalCode(err))
	w.change(func() { w.now = tomorrow })
	_, err = w.verifier.Join(t.Context(), token)
	require.NoError(t, err)
}

func TestMissingTokenIDsAreFilledAndDiffer(t *testing.T) {
	w, grant := newWorld(), clinicGrant()
	grant.TokenID = ""
	seen := make(map[string]bool)
	for range 3 {
		token, err := Mint(t.Context(), newKey("own"), grant, noon, noon)
		require.NoError(t, err)
		verified, err := w.verifier.Join(t.Context(), token)
		require.NoError(t, err)
		seen[verified.TokenID] = true
	}
	require.Len(t, seen, 3)
}

// failingSigner is a keeper that cannot be reached.
type failingSigner struct{}

func (failingSigner) Sign(context.Context, func(string) ([]byte, error)) ([]byte, error) {
	return nil, secrets.ErrUnavailable
}

func TestSignerFailuresAreReported(t *testing.T) {
	_, err := Mint(t.Context(), failingSigner{}, clinicGrant(), noon, noon)
	require.ErrorIs(t, err, secrets.ErrUnavailable)
	_, err = MintAPI(nil, "key", "clinic", noon, time.Hour)
	require.ErrorContains(t, err, "signing key of 0 bytes")
	_, err = MintAPI(newKey("k").Key, "k", "no tenant", noon, time.Hour)
	require.ErrorContains(t, err, `tenant "no tenant"`)
	_, err = MintAPI(newKey("k").Key, "k", "clinic", noon, 25*time.Hour)
	require.Equal(t, CodeClaims, RefusalCode(err))
	broken := errors.New("broken")
	_, err = newKey("k").Sign(t.Context(), func(string) ([]byte, error) { return nil, broken })
	require.ErrorIs(t, err, broken)
}

func FuzzVerify(f *testing.F) {
	valid := newForged()
	f.Add("")
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add(`{"payload":"e30","protected":"e30","signature":""}`)
	f.Add(valid.token())
	valid.header["crit"], valid.header["b64"] = []string{"b64"}, false
	f.Add(valid.token())
	valid.header["jwk"] = map[string]any{"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}
	f.Add(valid.token())
	accepted := newForged().token()
	w := newWorld()
	f.Fuzz(func(t *testing.T, token string) {
		_, err := w.verifier.API(t.Context(), token)
		require.NotEmpty(t, RefusalCode(err))
		grant, err := w.verifier.Join(t.Context(), token)
		if err != nil {
			require.NotEmpty(t, RefusalCode(err))
			return
		}
		// Only what was signed is accepted: the signed part is that of a seed.
		input, _, _ := cutLast(token)
		want, _, _ := cutLast(accepted)
		if input != want {
			require.Equal(t, "visit-1", grant.Encounter)
		}
	})
}

func TestExpiredTokenResumesButDoesNotJoin(t *testing.T) {
	w := newWorld()
	expires := noon.Add(time.Hour)
	for _, test := range []struct {
		now          time.Time
		join, resume Code
	}{
		{noon.Add(-time.Hour), CodeNotYetValid, CodeNotYetValid},
		{expires, "", ""},
		{expires.Add(leeway + time.Second), CodeExpired, ""},
		{expires.Add(MaxTokenTTL + leeway), CodeExpired, ""},
		{expires.Add(MaxTokenTTL + leeway + time.Second), CodeExpired, CodeExpired},
	} {
		w.change(func() { w.now = test.now })
		_, err := w.verifier.Join(t.Context(), newForged().token())
		require.Equal(t, test.join, RefusalCode(err), test.now)
		grant, err := w.verifier.Resume(t.Context(), newForged().token())
		require.Equal(t, test.resume, RefusalCode(err), test.now)
		if test.resume == "" {
			require.Equal(t, "patient-1", grant.Participant)
		}
	}
	forgery := newForged()
	forgery.key = newKey("somebody")
	_, err := w.verifier.Resume(t.Context(), forgery.token())
	require.Equal(t, CodeSignature, RefusalCode(err))
}

func TestDoubtfulSenderCannotMakeUsLookForTenants(t *testing.T) {
	w := newWorld()
	token := func(tenant, key string) string {
		f := newForged()
		f.key, f.header["kid"], f.claims["iss"], f.visit["tenant"] = newKey(key), key, tenantIssuerPrefix+tenant, tenant
		return f.token()
	}
	doubtful := WithMetIssuers(t.Context())
	_, err := w.verifier.Join(doubtful, token("clinic", "clinic-key"))
	require.Equal(t, CodeUnknownKey, RefusalCode(err))
	require.Zero(t, w.asked)
	_, err = w.verifier.Join(t.Context(), token("clinic", "clinic-key"))
	require.NoError(t, err)
	_, err = w.verifier.Join(doubtful, token("clinic", "clinic-key"))
	require.NoError(t, err, "a tenant at work here is served")
	_, err = w.verifier.Join(doubtful, newForged().token())
	require.NoError(t, err, "and so are our own tokens")
}
