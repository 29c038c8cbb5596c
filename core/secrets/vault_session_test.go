package secrets

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
)

// fakeVault is a config for a Vault that answers as the handler does.
func fakeVault(t *testing.T, handler http.HandlerFunc) VaultConfig {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	dir := t.TempDir()
	config := VaultConfig{
		Address: server.URL, CAFile: filepath.Join(dir, "ca.pem"), JWTFile: filepath.Join(dir, "jwt"), Role: "gateway", Log: zerolog.Nop(),
	}
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	require.NoError(t, os.WriteFile(config.CAFile, authority, 0o600))
	require.NoError(t, os.WriteFile(config.JWTFile, []byte("identity"), 0o600))
	return config
}

func TestLoginsThatEndAtOnceAreNoStorm(t *testing.T) {
	for name, lease := range map[string]string{
		"no life":       `"lease_duration":0,"renewable":true`,
		"not renewable": `"lease_duration":0,"renewable":false`,
	} {
		t.Run(name, func(t *testing.T) {
			var logins atomic.Int64
			config := fakeVault(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/login") {
					logins.Add(1)
				}
				fmt.Fprintf(w, `{"auth":{"client_token":"token",%s}}`, lease)
			})
			keeper, err := OpenFastVault(t.Context(), config, 0, time.Hour)
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			<-ctx.Done()
			require.NoError(t, keeper.Close())
			require.LessOrEqual(t, logins.Load(), int64(30), "each leaves a token in Vault's storage")
			require.GreaterOrEqual(t, logins.Load(), int64(3), "it does not give up either")
		})
	}
}

func TestALoginThatKeepsFailingIsToldOnce(t *testing.T) {
	var lines bytes.Buffer
	s := &session{identity: &identity{role: "gateway"}, log: zerolog.New(&lines), changed: make(chan struct{})}
	now := time.Date(2026, 1, 1, 23, 59, 0, 0, time.UTC)
	identity := []byte("e30.eyJleHAiOjF9.x") // {"exp":1}
	for range 100 {
		now = now.Add(7 * time.Second)
		s.landed(nil, fmt.Errorf("%w: %s", ErrDenied, explainTimes("exp", identity, now, 0, true)))
	}
	require.Equal(t, 1, strings.Count(lines.String(), "\n"), "it differs in the time alone")
	for port := range 100 {
		s.landed(nil, fmt.Errorf("%w: read tcp 10.0.0.1:%d->10.0.0.2:8200: connection reset by peer", ErrUnavailable, 50_000+port))
	}
	require.Equal(t, 2, strings.Count(lines.String(), "\n"), "it is another trouble")
}
