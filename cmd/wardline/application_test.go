package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/secrets"
)

func TestAnAPITokenIsOfTheTenantWhoseKeySigns(t *testing.T) {
	t.Parallel()
	public, private, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "hospital.pem")
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))

	for want, flags := range map[string][]string{secrets.Thumbprint(public): nil, "hospital-1": {"--tenant-key-id", "hospital-1"}} {
		var out bytes.Buffer
		args := append([]string{"token", "api", "--tenant", "hospital", "--tenant-key", file}, flags...)
		require.Equal(t, exitOK, execute(t.Context(), args, &out, io.Discard))
		token, err := jwt.ParseSigned(strings.TrimSpace(out.String()), []jose.SignatureAlgorithm{jose.EdDSA})
		require.NoError(t, err)
		require.Equal(t, want, token.Headers[0].KeyID)
		var claims jwt.Claims
		require.NoError(t, token.Claims(public, &claims))
		require.Equal(t, "hospital", claims.Subject)
	}

	var said bytes.Buffer
	none := filepath.Join(t.TempDir(), "none")
	require.Equal(t, exitFailure, execute(t.Context(), []string{"token", "api", "--tenant-key", none}, io.Discard, &said))
	require.Contains(t, said.String(), "--tenant-key")
}

func TestAnAPITokenThatNoGatewayTakesIsNotMade(t *testing.T) {
	data := t.TempDir()
	_, err := createDevTenantKey(data)
	require.NoError(t, err)
	for says, flags := range map[string][]string{
		"--ttl 48h0m0s: must be over 0 and at most 24h0m0s": {"--ttl", "48h"},
		"--ttl -1s: must be":              {"--ttl", "-1s"},
		`--tenant "a b": 1 to 64 letters`: {"--tenant", "a b"},
	} {
		code, out, errs := runCommand(t, "", append([]string{"token", "api", "--data", data}, flags...)...)
		require.Equal(t, exitUsage, code, errs)
		require.Contains(t, errs, says)
		require.Empty(t, out)
	}
}
