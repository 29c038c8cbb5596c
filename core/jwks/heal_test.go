package jwks

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/secrets"
)

func TestKeysThatAreNotTheRegionsDoNotStay(t *testing.T) {
	stolen, err := secrets.OpenLocal(filepath.Join(t.TempDir(), "keys"))
	require.NoError(t, err)
	forged, err := stolen.PublicKeys(t.Context())
	require.NoError(t, err)
	for name, document := range map[string]func([]secrets.PublicKey) []byte{
		"one more key": func(own []secrets.PublicKey) []byte {
			document, err := access.JWKS(append(own, forged...))
			require.NoError(t, err)
			return document
		},
		"nothing that can be read": func([]secrets.PublicKey) []byte { return []byte("{") },
	} {
		t.Run(name, func(t *testing.T) {
			c := newContinent(t, "east", "west")
			cut, one, two := c.gateway("east", c.file()), c.gateway("east", c.file()), c.gateway("east", c.file())
			west := c.gateway("west", c.file())
			cut.Ready = func(context.Context) error { return secrets.ErrUnavailable }
			for _, gateway := range []*Union{one, two} {
				gateway.Ready = func(context.Context) error { return nil }
			}
			sync := func(times int, gateways ...*Union) {
				for range times {
					for _, gateway := range gateways {
						gateway.Sync(t.Context())
					}
				}
			}
			sync(1, cut, one, two, west)
			c.keepers["west"], c.keepers["stolen"] = stolen, stolen
			entry, err := c.stores["east"].Memory.Get(t.Context(), keyPrefix+"east")
			require.NoError(t, err)
			own := c.published("east")
			_, err = c.stores["east"].Memory.CompareAndSet(t.Context(), keyPrefix+"east", document(own), entry.Index)
			require.NoError(t, err)
			writes := c.stores["east"].writes
			sync(10, cut)
			require.Equal(t, writes, c.stores["east"].writes, "who has no keeper cannot tell")

			sync(healAfter+1, one, two, west)
			require.Equal(t, own, c.published("east"))
			require.Equal(t, writes+1, c.stores["east"].writes, "once is enough")
			require.Equal(t, access.CodeUnknownKey, c.code(west, c.mint("stolen")))
		})
	}
}
