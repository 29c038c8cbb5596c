package secrets

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const badgeOwner = "clinic/visit-1/patient-1"

func sealBadge(t *testing.T, secret string) []byte {
	t.Helper()
	sealed, err := SealBadge(Shared{Current: []byte(secret)}, badgeOwner, "Zoë Example")
	require.NoError(t, err)
	return sealed
}

func TestBadgeOpensForItsParticipant(t *testing.T) {
	sealed := sealBadge(t, "secret")
	require.False(t, bytes.Contains(sealed, []byte("Example")))
	name, err := OpenBadge(Shared{Current: []byte("secret")}, badgeOwner, sealed)
	require.NoError(t, err)
	require.Equal(t, "Zoë Example", name)
	require.NotEqual(t, sealed, sealBadge(t, "secret"), "equal names must not look equal")
}

func TestBadgeOutlivesOneRotation(t *testing.T) {
	sealed := sealBadge(t, "first")
	name, err := OpenBadge(Shared{Current: []byte("second"), Previous: []byte("first")}, badgeOwner, sealed)
	require.NoError(t, err)
	require.Equal(t, "Zoë Example", name)
	_, err = OpenBadge(Shared{Current: []byte("third"), Previous: []byte("second")}, badgeOwner, sealed)
	require.ErrorIs(t, err, ErrBadge)
}

func TestBadgesThatDoNotOpen(t *testing.T) {
	sealed := sealBadge(t, "secret")
	flipped := bytes.Clone(sealed)
	flipped[len(flipped)-1] ^= 1
	for name, test := range map[string]struct {
		key    string
		sealed []byte
	}{
		"another participant": {"clinic/visit-1/patient-2", sealed},
		"another tenant":      {"other/visit-1/patient-1", sealed},
		"flipped bit":         {badgeOwner, flipped},
		"cut":                 {badgeOwner, sealed[:10]},
		"empty":               {badgeOwner, nil},
	} {
		_, err := OpenBadge(Shared{Current: []byte("secret")}, test.key, test.sealed)
		require.ErrorIs(t, err, ErrBadge, name)
	}
	_, err := OpenBadge(Shared{}, badgeOwner, sealed)
	require.ErrorIs(t, err, ErrBadge, "without a secret")
}

func TestBadgesThatCannotBeSealed(t *testing.T) {
	_, err := SealBadge(Shared{}, badgeOwner, "name")
	require.ErrorContains(t, err, "empty")
	_, err = SealBadge(Shared{Current: []byte("secret")}, badgeOwner, strings.Repeat("n", maxBadgeName+1))
	require.ErrorContains(t, err, "at most 1024")
}

func FuzzOpenBadge(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(bytes.Repeat([]byte{1}, 28))
	f.Fuzz(func(t *testing.T, sealed []byte) {
		_, err := OpenBadge(Shared{Current: []byte("secret")}, badgeOwner, sealed)
		require.ErrorIs(t, err, ErrBadge)
	})
}
