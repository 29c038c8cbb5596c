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
	"io/fs"
	"net"
	"os"
	"time"
)

const (
	authorityName = "ca.json"
	// caFileName is the public half, for whoever is to trust the certificates.
	caFileName = "ca.pem"

	authorityLife   = 10 * 365 * 24 * time.Hour
	certificateLife = 12 * time.Hour
	// backdate tolerates peers whose clock is behind.
	backdate = 5 * time.Minute
)

// authority is the local certificate authority, DER encoded (RFC 5280, PKCS #8).
type authority struct {
	Certificate []byte `json:"certificate"`
	Key         []byte `json:"key"`

	parsed *x509.Certificate
	signer *ecdsa.PrivateKey
}

// check parses what was read, so a loaded authority is ready to sign.
func (a *authority) check() error {
	certificate, err := x509.ParseCertificate(a.Certificate)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	key, err := x509.ParsePKCS8PrivateKey(a.Key)
	if err != nil {
		return errors.New("key: not PKCS #8")
	}
	signer, ok := key.(*ecdsa.PrivateKey)
	if !ok || !signer.PublicKey.Equal(certificate.PublicKey) {
		return errors.New("key: does not belong to the certificate")
	}
	a.parsed, a.signer = certificate, signer
	return nil
}

func (a *authority) create(now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "Wardline local CA", Organization: []string{"Wardline"}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	a.Certificate, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	a.Key, err = x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return a.check()
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate})
}

func (a *authority) issue(names []string, addresses []net.IP, now time.Time) (issued, error) {
	if now.After(a.parsed.NotAfter) {
		return issued{}, fmt.Errorf("the certificate authority ended %s", a.parsed.NotAfter.Format(time.RFC3339))
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return issued{}, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: names[0]},
		DNSNames:              names,
		IPAddresses:           addresses,
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(certificateLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.parsed, key.Public(), a.signer)
	if err != nil {
		return issued{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return issued{}, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.parsed)
	return issued{certificate: &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, roots: roots}, nil
}

// authority loads the certificate authority, made on first use together with its public file.
func (l *Local) authority(ctx context.Context) (*authority, error) {
	var ca authority
	if err := l.folder.ensure(ctx, authorityName, &ca, func() error { return ca.create(l.now()) }); err != nil {
		return nil, err
	}
	exported, err := os.ReadFile(l.folder.file(caFileName))
	if errors.Is(err, fs.ErrNotExist) {
		return &ca, l.folder.writeBytes(caFileName, ca.pem())
	}
	if err == nil && !bytes.Equal(exported, ca.pem()) {
		err = fmt.Errorf("%s: is not the certificate of %s; remove it to have it written again",
			l.folder.file(caFileName), l.folder.file(authorityName))
	}
	return &ca, err
}

// CAFile returns the path of the PEM certificate that clients, such as scripts and browsers, trust to accept
// every certificate of this keeper.
func (l *Local) CAFile(ctx context.Context) (string, error) {
	if _, err := l.authority(ctx); err != nil {
		return "", fmt.Errorf("local certificate authority: %w", err)
	}
	return l.folder.file(caFileName), nil
}

// Certificates implements Keeper. Certificates live 12 h and are renewed at two thirds of that.
func (l *Local) Certificates(ctx context.Context, role string, hosts ...string) (CertificateSource, error) {
	names, addresses, err := certificateNames(role, hosts)
	if err != nil {
		return nil, err
	}
	certificates, err := newSource(ctx, l.now, func(ctx context.Context) (issued, error) {
		ca, err := l.authority(ctx)
		if err != nil {
			return issued{}, err
		}
		return ca.issue(names, addresses, l.now())
	})
	if err != nil {
		return nil, fmt.Errorf("certificate of role %q: %w", role, err)
	}
	return certificates, nil
}
