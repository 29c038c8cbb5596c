package gateway

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/secrets"
)

func TestANameIsShownWhereItWasSealedAlone(t *testing.T) {
	shared := secrets.Shared{Current: []byte("roster secret")}
	visit := encounter.Key{Tenant: "clinic", ID: "visit"}
	badge, err := secrets.SealBadge(shared, badgeKey(visit, "pat"), "Ida")
	require.NoError(t, err)
	with := []secrets.Shared{{Current: []byte("another region's")}, shared}
	require.Equal(t, badgeName{"Ida", true}, openBadge(with, badgeKey(visit, "pat"), badge))
	for name, elsewhere := range map[string]string{
		"participant": badgeKey(visit, "doc"),
		"encounter":   badgeKey(encounter.Key{Tenant: "clinic", ID: "other"}, "pat"),
		"tenant":      badgeKey(encounter.Key{Tenant: "other", ID: "visit"}, "pat"),
	} {
		require.Zero(t, openBadge(with, elsewhere, badge), "another %s", name)
	}
}
