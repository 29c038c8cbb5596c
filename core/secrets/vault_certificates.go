package secrets

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"time"

	"github.com/hashicorp/vault/api"
)

// maxChain bounds how many authorities are taken from an answer.
const maxChain = 8

// Certificates implements Keeper. The private key is made here and never leaves the process; the region's
// intermediate authority signs it for the role, for as long as the PKI role of that name says.
func (v *Vault) Certificates(ctx context.Context, role string, hosts ...string) (CertificateSource, error) {
	names, addresses, err := certificateNames(role, hosts)
	if err != nil {
		return nil, err
	}
	certificates, err := newSource(ctx, time.Now, func(ctx context.Context) (issued, error) {
		return v.issue(ctx, role, names, addresses)
	})
	if err != nil {
		return nil, fmt.Errorf("certificate of role %q: %w", role, err)
	}
	certificates.kept = true
	failed := func(err error) {
		v.log.Warn().Err(err).Str("role", role).Time("ends", certificates.NotAfter()).
			Msg("certificate not renewed, trying again")
	}
	rest := func(failures int) time.Duration {
		//nolint:gosec // G404: jitter
		return backoff(failures, v.pace.reissue, v.pace.reissueMost, mathrand.Float64())
	}
	started := v.tasks.run(func(life context.Context) {
		life, cancel := context.WithCancel(life)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		certificates.keep(life, v.pace.watch, rest, failed)
	})
	if !started {
		return nil, fmt.Errorf("certificate of role %q: %w: keeper is closed", role, ErrUnavailable)
	}
	return certificates, nil
}

// issue has a new key signed.
func (v *Vault) issue(ctx context.Context, role string, names []string, addresses []net.IP) (issued, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return issued{}, err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, IPAddresses: addresses,
	}, key)
	if err != nil {
		return issued{}, err
	}
	path := PKIMount + "/sign/" + role
	secret, err := v.client.write(ctx, path, map[string]any{
		"csr": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request})),
	})
	if err != nil {
		return issued{}, err
	}
	fresh, err := parseIssued(secret, key)
	if err == nil {
		err = fresh.check(names, time.Now())
	}
	if err != nil {
		return issued{}, fmt.Errorf("vault %s: %w", path, err)
	}
	return fresh, nil
}

// parseIssued reads an answer of PKI: the certificate, and the authorities above it. Those that signed themselves
// are what peers are checked against; the others are presented with the certificate, so that a new intermediate
// needs no new trust.
func parseIssued(secret *api.Secret, key *ecdsa.PrivateKey) (issued, error) {
	leaves, err := parseCertificates([]byte(textField(secret, "certificate")))
	if err != nil || len(leaves) != 1 {
		return issued{}, errors.Join(errors.New("the answer has no certificate"), err)
	}
	leaf := leaves[0]
	if !key.PublicKey.Equal(leaf.PublicKey) {
		return issued{}, errors.New("the certificate is for another key")
	}
	chain, _ := secret.Data["ca_chain"].([]any)
	if len(chain) > maxChain {
		return issued{}, fmt.Errorf("a chain of %d authorities, at most %d", len(chain), maxChain)
	}
	certificate := &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	roots, anchored := x509.NewCertPool(), false
	for _, link := range chain {
		text, _ := link.(string)
		authorities, err := parseCertificates([]byte(text))
		if err != nil {
			return issued{}, fmt.Errorf("chain: %w", err)
		}
		for _, authority := range authorities {
			if bytes.Equal(authority.RawSubject, authority.RawIssuer) {
				roots.AddCert(authority)
				anchored = true
				continue
			}
			certificate.Certificate = append(certificate.Certificate, authority.Raw)
		}
	}
	if !anchored {
		return issued{}, errors.New("the chain has no root: install the intermediate together with its root")
	}
	return issued{certificate: certificate, roots: roots}, nil
}

func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	var parsed []*x509.Certificate
	for {
		var block *pem.Block
		block, text = pem.Decode(text)
		if block == nil {
			return parsed, nil
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, certificate)
	}
}

// check refuses a certificate that peers would refuse, before it replaces one that works.
func (i issued) check(names []string, now time.Time) error {
	leaf := i.certificate.Leaf
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return fmt.Errorf("the new certificate is valid from %s to %s, here it is %s: check the clocks",
			leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	between := x509.NewCertPool()
	for _, der := range i.certificate.Certificate[1:] {
		authority, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		between.AddCert(authority)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: i.roots, Intermediates: between, CurrentTime: now, DNSName: names[0],
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return fmt.Errorf("the new certificate does not verify: %w", err)
	}
	return nil
}
