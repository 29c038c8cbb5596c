package secrets

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTURNCredentialIsWhatCoturnComputes(t *testing.T) {
	// printf '1700000000:p1' | openssl dgst -sha1 -hmac north -binary | base64
	username, password := TURNCredential(Shared{Current: []byte("north")}, "p1", time.Unix(1_700_000_000, 0))
	require.Equal(t, "1700000000:p1", username)
	require.Equal(t, "qmV1Ez2SwzrylXCPMqxg9P1hY0Y=", password)
}

func TestTURNPasswordsFollowARotation(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	old := Shared{Current: []byte("old")}
	username, minted := TURNCredential(old, "session:with:colons", now.Add(time.Hour))

	passwords, err := TURNPassword(old, username, now)
	require.NoError(t, err)
	require.Equal(t, []string{minted}, passwords)

	passwords, err = TURNPassword(Shared{Current: []byte("new"), Previous: []byte("old")}, username, now)
	require.NoError(t, err)
	require.Len(t, passwords, 2)
	require.Equal(t, minted, passwords[1])

	passwords, err = TURNPassword(Shared{Current: []byte("newest"), Previous: []byte("new")}, username, now)
	require.NoError(t, err)
	require.NotContains(t, passwords, minted)
}

func TestTURNUsernamesThatAreRefused(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for _, test := range []struct {
		name, username string
		want           error
	}{
		{"empty", "", ErrCredentialMalformed},
		{"no id", "1800000000:", ErrCredentialMalformed},
		{"no time", ":p1", ErrCredentialMalformed},
		{"no colon", "1800000000", ErrCredentialMalformed},
		{"not a number", "tomorrow:p1", ErrCredentialMalformed},
		{"negative", "-5:p1", ErrCredentialMalformed},
		{"beyond 64 bits", "99999999999999999999:p1", ErrCredentialMalformed},
		{"too long", "1800000000:" + strings.Repeat("p", 600), ErrCredentialMalformed},
		{"expired", "1699999999:p1", ErrCredentialExpired},
		{"expires now", "1700000000:p1", ErrCredentialExpired},
	} {
		t.Run(test.name, func(t *testing.T) {
			passwords, err := TURNPassword(Shared{Current: []byte("secret")}, test.username, now)
			require.ErrorIs(t, err, test.want)
			require.Empty(t, passwords)
			require.NotContains(t, err.Error(), "p1")
		})
	}
}

func TestEmptySecretVerifiesNothing(t *testing.T) {
	_, err := TURNPassword(Shared{}, "1800000000:p1", time.Unix(1_700_000_000, 0))
	require.ErrorContains(t, err, "empty")
}

func FuzzTURNPassword(f *testing.F) {
	for _, seed := range []string{"", ":", "1800000000:p1", "-1:p", "9223372036854775807:x", "1e9:p", "1800000000:\x00"} {
		f.Add(seed)
	}
	secret := Shared{Current: []byte("current"), Previous: []byte("previous")}
	f.Fuzz(func(t *testing.T, username string) {
		passwords, err := TURNPassword(secret, username, time.Unix(1_700_000_000, 0))
		require.Equal(t, err == nil, len(passwords) == 2)
	})
}
