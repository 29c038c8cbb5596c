package access

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"maps"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/wardline/wardline/core/secrets"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noon is when these tests take place.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// newKey makes a key that is the same in every run, so failures can be repeated.
func newKey(id string) KeySigner {
	seed := make([]byte, ed25519.SeedSize)
	copy(seed, id)
	return KeySigner{ID: id, Key: ed25519.NewKeyFromSeed(seed)}
}

func (k KeySigner) public() secrets.PublicKey {
	return secrets.PublicKey{ID: k.ID, Key: ed25519.PublicKey(k.Key[ed25519.SeedSize:])}
}

// clinicGrant is an ordinary patient's grant.
func clinicGrant() Grant {
	return Grant{
		Tenant: "clinic", Encounter: "visit-1", Participant: "patient-1", Role: Patient, Name: "Zoë Example",
		Regions: []string{"north", "south"}, E2EE: true, TokenID: "token-1", Expires: noon.Add(time.Hour),
	}
}

// world is a verifier with the keys it trusts, all of which a test may change.
type world struct {
	mu      sync.Mutex
	own     []secrets.PublicKey
	tenants map[string][]secrets.PublicKey
	failure error
	asked   int // questions to either source
	now     time.Time

	verifier *Verifier
}

func newWorld() *world {
	w := &world{
		own:     []secrets.PublicKey{newKey("own").public()},
		tenants: map[string][]secrets.PublicKey{"clinic": {newKey("clinic-key").public()}},
		now:     noon,
	}
	w.verifier = NewVerifier(w, w, func() time.Time {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.now
	})
	return w
}

func (w *world) change(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) PublicKeys(context.Context) ([]secrets.PublicKey, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	return w.own, w.failure
}

func (w *world) TenantKeys(_ context.Context, tenant string) ([]secrets.PublicKey, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	if keys, found := w.tenants[tenant]; found || w.failure != nil {
		return keys, w.failure
	}
	return nil, secrets.ErrNotFound
}

// forged is a token put together by hand. nil members are left out.
type forged struct {
	header, claims, visit map[string]any
	key                   KeySigner
}

func newForged() forged {
	return forged{
		header: map[string]any{"alg": "EdDSA", "kid": "own", "typ": "JWT"},
		claims: map[string]any{
			"iss": ownIssuer, "aud": joinAudience, "sub": "patient-1", "jti": "token-1",
			"nbf": noon.Unix(), "exp": noon.Add(time.Hour).Unix(),
		},
		visit: map[string]any{"tenant": "clinic", "encounter": "visit-1", "role": "patient", "name": "Zoë Example"},
		key:   newKey("own"),
	}
}

func (f forged) token() string {
	claims := maps.Clone(f.claims)
	if f.visit != nil {
		claims[Claim] = present(f.visit)
	}
	return f.signed(encoded(present(f.header)) + "." + encoded(present(claims)))
}

func (f forged) signed(input string) string {
	return input + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(f.key.Key, []byte(input)))
}

func present(members map[string]any) map[string]any {
	members = maps.Clone(members)
	maps.DeleteFunc(members, func(_ string, value any) bool { return value == nil })
	return members
}

func encoded(value any) string {
	content, err := json.Marshal(value)
	if err != nil {
		panic(err) // a mistake in the test itself
	}
	return base64.RawURLEncoding.EncodeToString(content)
}
