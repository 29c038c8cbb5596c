package encounter_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
)

func TestOnlyBrowsersTakePartEndToEndEncrypted(t *testing.T) {
	e := encounter.Encounter{E2EE: true}
	for _, kind := range []encounter.SessionKind{encounter.WHIP, encounter.WHEP} {
		_, err := join(&e, "encoder", access.Provider, "s", kind)
		require.ErrorIs(t, err, encounter.ErrEncrypted, kind)
		require.Empty(t, e.Participants, "a refusal changes nothing")
	}
	mustJoin(t, &e, "doctor", access.Provider, "s")
}

func TestAPublicKeyBelongsToItsSession(t *testing.T) {
	e := encounter.Encounter{E2EE: true}
	mustJoin(t, &e, "doctor", access.Provider, "s-1")
	require.Empty(t, e.Participants["doctor"].PublicKey())
	require.ErrorIs(t, e.Announce("doctor", "s-2", "key"), encounter.ErrUnknownParticipant)
	require.ErrorIs(t, e.Announce("nobody", "s-1", "key"), encounter.ErrUnknownParticipant)
	require.NoError(t, e.Announce("doctor", "s-1", "key"))
	require.NoError(t, e.Announce("doctor", "s-1", "key"), "said again after a resume")
	require.Equal(t, "key", e.Participants["doctor"].PublicKey())
	require.ErrorIs(t, e.Announce("doctor", "s-1", "other"), encounter.ErrKeyChanged)

	e.Lose("doctor", "s-1", noon)
	require.NoError(t, e.Resume("doctor", "s-1", "gw-2"))
	mustJoin(t, &e, "doctor", access.Provider, "s-1")
	require.Equal(t, "key", e.Participants["doctor"].PublicKey(), "going on keeps it")
	mustJoin(t, &e, "doctor", access.Provider, "s-2")
	require.Empty(t, e.Participants["doctor"].PublicKey(), "another session is another key")

	e.End(noon)
	require.ErrorIs(t, e.Announce("doctor", "s-2", "key"), encounter.ErrEnded)
	var plain encounter.Encounter
	mustJoin(t, &plain, "doctor", access.Provider, "s-1")
	require.ErrorIs(t, plain.Announce("doctor", "s-1", "key"), encounter.ErrNotEncrypted)
}

func TestEndToEndEncryptionOutlivesAMerge(t *testing.T) {
	encrypted, plain := half(0, nil), half(1, nil)
	encrypted.E2EE = true
	require.True(t, encounter.Merge(encrypted, plain).E2EE)
	require.True(t, encounter.Merge(plain, encrypted).E2EE)
}
