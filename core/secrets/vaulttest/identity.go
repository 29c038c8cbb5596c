package vaulttest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"maps"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/stretchr/testify/require"
)

// Nomad signs workload identities as a region's Nomad does.
type Nomad struct {
	// Region and Namespace are what identities are for.
	Region, Namespace string
	key               *rsa.PrivateKey
}

// NewNomad makes a Nomad with a key of its own.
func NewNomad(t *testing.T, region string) *Nomad {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return &Nomad{Region: region, Namespace: "default", key: key}
}

// PublicKey is the key in PEM that verifies its identities.
func (n *Nomad) PublicKey(t *testing.T) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&n.key.PublicKey)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// JWKS is what it publishes at /.well-known/jwks.json.
func (n *Nomad) JWKS(t *testing.T) []byte {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: &n.key.PublicKey, KeyID: "nomad", Algorithm: string(jose.RS256), Use: "sig"},
	}})
	require.NoError(t, err)
	return text
}

// Identity signs the identity of a job's task, all of one name, with some claims otherwise.
func (n *Nomad) Identity(t *testing.T, job string, otherwise map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: n.key}, (&jose.SignerOptions{}).WithType("JWT"))
	require.NoError(t, err)
	now := time.Now()
	claims := map[string]any{
		"aud": []string{"vault.io"}, "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"sub":             n.Region + ":" + n.Namespace + ":" + job + ":" + job + ":" + job + ":vault",
		"nomad_namespace": n.Namespace, "nomad_job_id": job, "nomad_task": job,
		"nomad_allocation_id": "a9e5ff0b-4d5e-4c29-a8f5-3f0a4b9d2f11",
	}
	maps.Copy(claims, otherwise)
	text, err := jwt.Signed(signer).Claims(claims).Serialize()
	require.NoError(t, err)
	return text
}
