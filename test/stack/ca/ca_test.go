package ca_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/test/stack/ca"
)

func TestAnIssuedCertificateServesItsNamesAndAuthenticatesItsHolder(t *testing.T) {
	t.Parallel()
	authority, err := ca.New(time.Now())
	require.NoError(t, err)
	pair, err := authority.Issue("east-server", []string{"server.east.consul"}, []netip.Addr{netip.MustParseAddr("127.0.0.1")}, time.Now())
	require.NoError(t, err)
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	require.NoError(t, err)

	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientCAs: authority.Pool(),
		ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12,
	}
	server.StartTLS()
	t.Cleanup(server.Close)

	get := func(config *tls.Config) error {
		transport := &http.Transport{TLSClientConfig: config}
		defer transport.CloseIdleConnections()
		response, err := (&http.Client{Transport: transport}).Get(server.URL)
		if err == nil {
			err = response.Body.Close()
		}
		return err
	}
	mutual := authority.ClientTLS()
	mutual.Certificates = []tls.Certificate{cert}
	require.NoError(t, get(mutual))
	require.Error(t, get(authority.ClientTLS()), "without a client certificate")

	stranger, err := ca.New(time.Now())
	require.NoError(t, err)
	foreign := stranger.ClientTLS()
	foreign.Certificates = mutual.Certificates
	require.Error(t, get(foreign), "another authority vouches for nobody here")

	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	require.NoError(t, err)
	require.NoError(t, leaf.VerifyHostname("server.east.consul"))
	require.Error(t, leaf.VerifyHostname("server.west.consul"))
}

func TestKeysAreWrittenForTheirOwnerOnly(t *testing.T) {
	t.Parallel()
	authority, err := ca.New(time.Now())
	require.NoError(t, err)
	pair, err := authority.Issue("node", nil, nil, time.Now())
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "tls")
	require.NoError(t, authority.Write(dir, pair))
	for _, name := range []string{ca.CAFile, ca.CertFile, ca.KeyFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), name)
	}
}
