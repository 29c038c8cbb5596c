package secretstest

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/secrets"
)

// signed is a message with what is needed to verify it.
type signed struct {
	keyID     string
	message   []byte
	signature []byte
}

func sign(t trial, text string) (signed, error) {
	t.Helper()
	var s signed
	var err error
	s.signature, err = t.keeper.Sign(t.Context(), func(keyID string) ([]byte, error) {
		s.keyID, s.message = keyID, []byte(text+" under "+keyID)
		return s.message, nil
	})
	return s, err
}

func (s signed) verifiedBy(keys []secrets.PublicKey) bool {
	for _, key := range keys {
		if key.ID == s.keyID {
			return ed25519.Verify(key.Key, s.message, s.signature)
		}
	}
	return false
}

func publicKeys(t trial) []secrets.PublicKey {
	t.Helper()
	keys, err := t.keeper.PublicKeys(t.Context())
	require.NoError(t, err)
	return keys
}

var tokenKeyCases = map[string]func(trial){
	"a signature verifies with the published key of its id": func(t trial) {
		s, err := sign(t, "message")
		require.NoError(t, err)
		require.NotEmpty(t, s.keyID)
		require.True(t, s.verifiedBy(publicKeys(t)))

		s.message = append(bytes.Clone(s.message), '!')
		require.False(t, s.verifiedBy(publicKeys(t)), "another message")
	},
	"a payload that fails is not signed": func(t trial) {
		broken := errors.New("broken payload")
		signature, err := t.keeper.Sign(t.Context(), func(string) ([]byte, error) { return nil, broken })
		require.ErrorIs(t, err, broken)
		require.Empty(t, signature)
	},
	"the same key signs until a rotation": func(t trial) {
		first, err := sign(t, "first")
		require.NoError(t, err)
		second, err := sign(t, "second")
		require.NoError(t, err)
		require.Equal(t, first.keyID, second.keyID)
	},
	"after a rotation the new key signs and the previous still verifies": func(t trial) {
		before, err := sign(t, "before")
		require.NoError(t, err)
		require.NoError(t, t.keeper.RotateTokenKey(t.Context()))
		after, err := sign(t, "after")
		require.NoError(t, err)

		require.NotEqual(t, before.keyID, after.keyID)
		keys := publicKeys(t)
		require.Len(t, keys, 2)
		require.True(t, before.verifiedBy(keys))
		require.True(t, after.verifiedBy(keys))
	},
	"a second rotation ends the oldest key": func(t trial) {
		oldest, err := sign(t, "oldest")
		require.NoError(t, err)
		require.NoError(t, t.keeper.RotateTokenKey(t.Context()))
		require.NoError(t, t.keeper.RotateTokenKey(t.Context()))
		keys := publicKeys(t)
		require.Len(t, keys, 2)
		require.False(t, oldest.verifiedBy(keys))
	},
	"rotation before first use works": func(t trial) {
		require.NoError(t, t.keeper.RotateTokenKey(t.Context()))
		s, err := sign(t, "message")
		require.NoError(t, err)
		require.True(t, s.verifiedBy(publicKeys(t)))
	},
	"signing goes on while keys rotate": func(t trial) {
		_, err := sign(t, "warm up")
		require.NoError(t, err)
		var group sync.WaitGroup
		results := make([]signed, 8)
		failures := make([]error, len(results))
		for i := range results {
			group.Go(func() { results[i], failures[i] = sign(t, "message") })
		}
		require.NoError(t, t.keeper.RotateTokenKey(t.Context()))
		group.Wait()
		keys := publicKeys(t)
		for i, result := range results {
			require.NoError(t, failures[i])
			require.True(t, result.verifiedBy(keys))
		}
	},
}

var sharedCases = map[string]func(trial){
	"a secret is made on first use and stays": func(t trial) {
		first := shared(t, secrets.TURNSecret)
		require.GreaterOrEqual(t, len(first.Current), 16, "bytes")
		require.Equal(t, first, shared(t, secrets.TURNSecret))
	},
	"names have secrets of their own": func(t trial) {
		require.NotEqual(t, shared(t, secrets.TURNSecret).Current, shared(t, secrets.RosterSecret).Current)
	},
	"a rotation keeps the previous secret and drops the one before": func(t trial) {
		first := shared(t, secrets.RosterSecret)
		require.NoError(t, t.keeper.RotateShared(t.Context(), secrets.RosterSecret))
		second := shared(t, secrets.RosterSecret)
		require.NotEqual(t, first.Current, second.Current)
		require.Equal(t, first.Current, second.Previous)

		require.NoError(t, t.keeper.RotateShared(t.Context(), secrets.RosterSecret))
		third := shared(t, secrets.RosterSecret)
		require.Equal(t, second.Current, third.Previous)
		require.NotEqual(t, first.Current, third.Current)
	},
	"rotating one name leaves the others": func(t trial) {
		before := shared(t, secrets.TURNSecret)
		require.NoError(t, t.keeper.RotateShared(t.Context(), secrets.RosterSecret))
		require.Equal(t, before, shared(t, secrets.TURNSecret))
	},
	"everybody who asks first gets the same secret": func(t trial) {
		var group sync.WaitGroup
		results := make([]secrets.Shared, 8)
		failures := make([]error, len(results))
		for i := range results {
			group.Go(func() { results[i], failures[i] = t.keeper.Shared(t.Context(), secrets.TURNSecret) })
		}
		group.Wait()
		for i, result := range results {
			require.NoError(t, failures[i])
			require.Equal(t, results[0], result)
		}
	},
	"a name that is none is refused": func(t trial) {
		for _, name := range []string{"", "../turn", "Turn", "a b"} {
			_, err := t.keeper.Shared(t.Context(), name)
			require.Error(t, err, "%q", name)
			require.Error(t, t.keeper.RotateShared(t.Context(), name), "%q", name)
		}
	},
}

func shared(t trial, name string) secrets.Shared {
	t.Helper()
	secret, err := t.keeper.Shared(t.Context(), name)
	require.NoError(t, err)
	return secret
}
