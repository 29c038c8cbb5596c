package vaultpolicies

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/wardline/wardline/core/secrets"
)

const (
	// rootLife and intermediateLife are how long the authorities live.
	rootLife         = 10 * 365 * 24 * time.Hour
	intermediateLife = 2 * 365 * 24 * time.Hour
	// backdate tolerates machines whose clock is behind.
	backdate = 5 * time.Minute

	pemCertificate = "CERTIFICATE"
	pemKey         = "PRIVATE KEY"
)

// authority reports a region whose intermediate is not there yet: its request has to go to the offline root.
func (a *Applier) authority(ctx context.Context) error {
	current, err := a.read(ctx, secrets.PKIMount+"/config/issuers")
	if err != nil {
		return err
	}
	change := Change{Action: Unchanged, Kind: "authority", Name: secrets.PKIMount}
	if issuer, _ := current["default"].(string); issuer == "" {
		change.Action = Missing
		change.Detail = "no certificates yet: have an intermediate signed by the offline root and install it"
	}
	a.plan = append(a.plan, change)
	return nil
}

// RequestIntermediate makes a new key for the region's intermediate authority, which stays in Vault, and returns the
// certificate request for it in PEM (RFC 2986). The authority in use stays in use.
func RequestIntermediate(ctx context.Context, client *api.Client, region string) ([]byte, error) {
	secret, err := client.Logical().WriteWithContext(ctx, secrets.PKIMount+"/intermediate/generate/internal", map[string]any{
		"common_name": "Wardline " + region + " intermediate CA", "organization": "Wardline",
		"key_type": "ec", "key_bits": 256,
	})
	if err != nil {
		return nil, fmt.Errorf("intermediate of %s: %w", region, err)
	}
	text, _ := secret.Data["csr"].(string)
	if text == "" {
		return nil, fmt.Errorf("intermediate of %s: the answer has no request", region)
	}
	return []byte(text + "\n"), nil
}

// InstallIntermediate gives Vault the signed intermediate, followed by its root, and has it sign from now on.
// Certificates of the intermediate before stay good: both have the same root.
func InstallIntermediate(ctx context.Context, client *api.Client, chain []byte) error {
	secret, err := client.Logical().WriteWithContext(ctx, secrets.PKIMount+"/intermediate/set-signed",
		map[string]any{"certificate": string(chain)})
	if err != nil {
		return fmt.Errorf("install intermediate: %w", err)
	}
	// The issuer with a key is the intermediate; the root came without its own.
	mapping, _ := secret.Data["mapping"].(map[string]any)
	for issuer, key := range mapping {
		if id, _ := key.(string); id == "" {
			continue
		}
		_, err := client.Logical().WriteWithContext(ctx, secrets.PKIMount+"/config/issuers", map[string]any{"default": issuer})
		if err != nil {
			return fmt.Errorf("install intermediate: %w", err)
		}
		return nil
	}
	return errors.New("install intermediate: none of the certificates belongs to a key in Vault")
}

// Root is the offline root authority, PEM encoded. It belongs on a machine without a network.
type Root struct {
	Certificate, Key []byte
}

// NewRoot makes a root that lives ten years.
func NewRoot(now time.Time) (Root, error) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return Root{}, err
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "Wardline root CA", Organization: []string{"Wardline"}},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(rootLife),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true, MaxPathLen: 1,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return Root{}, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Root{}, err
	}
	return Root{
		Certificate: pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: der}),
		Key:         pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: private}),
	}, nil
}

// Sign signs a region's request and returns the intermediate followed by the root, in PEM.
func (r Root) Sign(request []byte, now time.Time) ([]byte, error) {
	authority, key, err := r.parse()
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	block, _ := pem.Decode(request)
	if block == nil {
		return nil, errors.New("certificate request: not PEM")
	}
	parsed, err := x509.ParseCertificateRequest(block.Bytes)
	if err == nil {
		err = parsed.CheckSignature()
	}
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	template := &x509.Certificate{
		Subject:   parsed.Subject,
		NotBefore: now.Add(-backdate), NotAfter: now.Add(intermediateLife),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
		// Whatever a region's authority signs, it speaks for nobody outside this product's components and hosts.
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, authority, parsed.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("sign intermediate: %w", err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: der}), r.Certificate...), nil
}

func (r Root) parse() (*x509.Certificate, *ecdsa.PrivateKey, error) {
	certificate, _ := pem.Decode(r.Certificate)
	private, _ := pem.Decode(r.Key)
	if certificate == nil || private == nil {
		return nil, nil, errors.New("certificate and key must be PEM")
	}
	authority, err := x509.ParseCertificate(certificate.Bytes)
	if err != nil {
		return nil, nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(private.Bytes)
	if err != nil {
		return nil, nil, errors.New("key: not PKCS #8") // the parser's error could quote the key
	}
	signer, ok := key.(*ecdsa.PrivateKey)
	if !ok || !signer.PublicKey.Equal(authority.PublicKey) {
		return nil, nil, errors.New("the key does not belong to the certificate")
	}
	return authority, signer, nil
}
