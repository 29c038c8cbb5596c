package access

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/secrets"
)

// rfc8037 is the public key of RFC 8037, appendix A.2.
const rfc8037 = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"`

func TestKeySetSurvivesTheRoundTrip(t *testing.T) {
	keys := []secrets.PublicKey{newKey("one").public(), newKey("two").public()}
	document, err := JWKS(keys)
	require.NoError(t, err)
	parsed, err := ParseJWKS(document)
	require.NoError(t, err)
	require.Equal(t, keys, parsed)
}

func TestRenderedKeySetIsPublicAndComplete(t *testing.T) {
	document, err := JWKS([]secrets.PublicKey{newKey("one").public()})
	require.NoError(t, err)
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	require.NoError(t, json.Unmarshal(document, &set))
	require.Len(t, set.Keys, 1)
	delete(set.Keys[0], "x")
	require.Equal(t, map[string]any{"kty": "OKP", "crv": "Ed25519", "kid": "one", "use": "sig", "alg": "EdDSA"}, set.Keys[0])

	empty, err := JWKS(nil)
	require.NoError(t, err)
	require.JSONEq(t, `{"keys":[]}`, string(empty))
	_, err = JWKS([]secrets.PublicKey{{Key: newKey("one").public().Key}})
	require.ErrorContains(t, err, "kid")
	_, err = JWKS([]secrets.PublicKey{{ID: "short", Key: []byte{1}}})
	require.Error(t, err)
}

func TestThumbprintIsThatOfRFC8037(t *testing.T) {
	keys, err := ParseJWKS([]byte(`{"keys":[` + rfc8037 + `,"kid":"a"}]}`))
	require.NoError(t, err)
	require.Equal(t, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", secrets.Thumbprint(keys[0].Key))
}

func TestParsedKeySets(t *testing.T) {
	rsa := `{"kty":"RSA","kid":"r","n":"AQAB","e":"AQAB"}`
	for _, test := range []struct {
		name, document string
		want           []string // key ids
		err            string
	}{
		{"one key", `{"keys":[` + rfc8037 + `,"kid":"a"}]}`, []string{"a"}, ""},
		{"with use and alg", `{"keys":[` + rfc8037 + `,"kid":"a","use":"sig","alg":"EdDSA"}]}`, []string{"a"}, ""},
		{"others are skipped", `{"keys":[` + rsa + `,` + rfc8037 + `,"kid":"a"},{"kty":"new"}]}`, []string{"a"}, ""},
		{"encryption keys are skipped", `{"keys":[` + rfc8037 + `,"kid":"a"},` + rfc8037 + `,"kid":"e","use":"enc"}]}`, []string{"a"}, ""},
		{"not JSON", `keys`, nil, "not JSON"},
		{"no keys", `{}`, nil, "no Ed25519 signature key"},
		{"only others", `{"keys":[` + rsa + `]}`, nil, "no Ed25519 signature key"},
		{"key no object", `{"keys":[7]}`, nil, "key 1: not a JSON object"},
		{"private", `{"keys":[` + rfc8037 + `,"kid":"a","d":"nWGxne_9WmC6hEr0kuwsxA"}]}`, nil, "key 1: holds a private"},
		{"symmetric", `{"keys":[{"kty":"oct","k":"AAAA","kid":"a"}]}`, nil, "holds a private or symmetric key"},
		{"no kid", `{"keys":[` + rfc8037 + `}]}`, nil, `kid ""`},
		{"kid twice", `{"keys":[` + rfc8037 + `,"kid":"a"},` + rfc8037 + `,"kid":"a"}]}`, nil, `key 2: kid "a" is used twice`},
		{"kid too long", `{"keys":[` + rfc8037 + `,"kid":"` + strings.Repeat("k", 129) + `"}]}`, nil, "must be 1 to 128 bytes"},
		{"short x", `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AAAA","kid":"a"}]}`, nil, "key 1"},
		{"weak point", `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"` + strings.Repeat("A", 43) + `","kid":"a"}]}`, nil, "low-order"},
		{"too large", strings.Repeat(" ", MaxJWKSBytes+1), nil, "at most 65536"},
		{"too many", `{"keys":[` + strings.Repeat(`{},`, maxJWKSKeys) + `{}]}`, nil, "65 keys, at most 64"},
	} {
		t.Run(test.name, func(t *testing.T) {
			keys, err := ParseJWKS([]byte(test.document))
			if test.err != "" {
				require.ErrorContains(t, err, test.err)
				return
			}
			require.NoError(t, err)
			ids := make([]string, len(keys))
			for i, key := range keys {
				ids[i] = key.ID
			}
			require.Equal(t, test.want, ids)
		})
	}
}

func FuzzParseJWKS(f *testing.F) {
	f.Add([]byte(`{"keys":[` + rfc8037 + `,"kid":"a"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"","kid":"a","x5c":["AAAA"],"x5u":"%"}]}`))
	f.Add([]byte(`{"keys":null}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		keys, err := ParseJWKS(document)
		if err != nil {
			return
		}
		rendered, err := JWKS(keys)
		require.NoError(t, err)
		again, err := ParseJWKS(rendered)
		require.NoError(t, err)
		require.Equal(t, keys, again)
	})
}
