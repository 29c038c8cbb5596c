package secretstest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/secrets"
)

// handshakeTimeout is generous: a handshake takes milliseconds.
const handshakeTimeout = 10 * time.Second

// handshake connects both configurations over a pipe of the operating system and moves one byte each way,
// because in TLS 1.3 a client learns of its refusal only when it reads.
func handshake(t trial, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer closing(listener)
	served := make(chan error, 1)
	go func() { served <- serveOne(listener, server) }()

	state, err := dialOne(listener.Addr().String(), client)
	closing(listener) // a dial that never came must not leave the server waiting
	return state, errors.Join(err, <-served)
}

// closing ends a connection whose outcome is known by now.
func closing(c io.Closer) { _ = c.Close() }

func serveOne(listener net.Listener, config *tls.Config) error {
	raw, err := listener.Accept()
	if err != nil {
		return err
	}
	conn := tls.Server(raw, config)
	defer closing(conn)
	if err := conn.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return err
	}
	one := make([]byte, 1)
	if _, err := conn.Read(one); err != nil {
		return err
	}
	_, err = conn.Write(one)
	return err
}

func dialOne(address string, config *tls.Config) (tls.ConnectionState, error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: handshakeTimeout}, "tcp", address, config)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer closing(conn)
	if err := conn.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return tls.ConnectionState{}, err
	}
	if _, err := conn.Write([]byte{1}); err != nil {
		return tls.ConnectionState{}, err
	}
	_, err = io.ReadFull(conn, make([]byte, 1))
	return conn.ConnectionState(), err
}

func certificates(t trial, role string, hosts ...string) secrets.CertificateSource {
	t.Helper()
	source, err := t.keeper.Certificates(t.Context(), role, hosts...)
	require.NoError(t, err)
	return source
}

// selfSigned is a certificate that claims a role without having it from the t.keeper.
func selfSigned(t trial, role string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		DNSNames:    []string{role + secrets.NameSuffix},
		NotBefore:   time.Now().Add(-time.Minute),
		NotAfter:    time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

var certificateCases = map[string]func(trial){
	"two roles meet over mutual TLS": func(t trial) {
		sfu, gateway := certificates(t, secrets.SFURole), certificates(t, secrets.GatewayRole)
		state, err := handshake(t, sfu.Server(secrets.GatewayRole), gateway.Client(secrets.SFURole))
		require.NoError(t, err)
		require.Equal(t, uint16(tls.VersionTLS13), state.Version)
	},
	"a server accepts any of its peers": func(t trial) {
		sfu := certificates(t, secrets.SFURole)
		for _, role := range []string{secrets.GatewayRole, secrets.SFURole} {
			_, err := handshake(t, sfu.Server(secrets.GatewayRole, secrets.SFURole), certificates(t, role).Client(secrets.SFURole))
			require.NoError(t, err, role)
		}
	},
	"a server refuses a client of another role": func(t trial) {
		sfu, turn := certificates(t, secrets.SFURole), certificates(t, secrets.TURNRole)
		_, err := handshake(t, sfu.Server(secrets.GatewayRole), turn.Client(secrets.SFURole))
		require.Error(t, err)
	},
	"a client refuses a server of another role": func(t trial) {
		turn, gateway := certificates(t, secrets.TURNRole), certificates(t, secrets.GatewayRole)
		_, err := handshake(t, turn.Server(secrets.GatewayRole), gateway.Client(secrets.SFURole))
		require.Error(t, err)
	},
	"a server with peers refuses a client without a certificate": func(t trial) {
		client := certificates(t, secrets.GatewayRole).Client(secrets.SFURole)
		client.GetClientCertificate = nil
		_, err := handshake(t, certificates(t, secrets.SFURole).Server(secrets.GatewayRole), client)
		require.Error(t, err)
	},
	"a server refuses a role from a foreign authority": func(t trial) {
		foreign := selfSigned(t, secrets.GatewayRole)
		client := certificates(t, secrets.GatewayRole).Client(secrets.SFURole)
		client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &foreign, nil }
		_, err := handshake(t, certificates(t, secrets.SFURole).Server(secrets.GatewayRole), client)
		require.Error(t, err)
	},
	"a client refuses a role from a foreign authority": func(t trial) {
		server := &tls.Config{Certificates: []tls.Certificate{selfSigned(t, secrets.SFURole)}, MinVersion: tls.VersionTLS13}
		_, err := handshake(t, server, certificates(t, secrets.GatewayRole).Client(secrets.SFURole))
		require.Error(t, err)
	},
	"a server without peers serves browsers at its hosts": func(t trial) {
		gateway := certificates(t, secrets.GatewayRole, "localhost", "127.0.0.1", "localhost")
		roots := gateway.Client(secrets.GatewayRole).RootCAs
		for _, host := range []string{"localhost", "127.0.0.1"} {
			client := &tls.Config{RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12}
			_, err := handshake(t, gateway.Server(), client)
			require.NoError(t, err, host)
		}
		_, err := handshake(t, gateway.Server(), &tls.Config{RootCAs: roots, ServerName: "elsewhere.example", MinVersion: tls.VersionTLS12})
		require.Error(t, err)
	},
	"with peers nothing older than TLS 1.3 connects": func(t trial) {
		client := certificates(t, secrets.GatewayRole).Client(secrets.SFURole)
		client.MinVersion, client.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		_, err := handshake(t, certificates(t, secrets.SFURole).Server(secrets.GatewayRole), client)
		require.Error(t, err)
	},
	"a role's name cannot be had as a host": func(t trial) {
		for _, host := range []string{"sfu" + secrets.NameSuffix, "SFU" + secrets.NameSuffix, secrets.NameSuffix[1:]} {
			_, err := t.keeper.Certificates(t.Context(), secrets.GatewayRole, host)
			require.Error(t, err, host)
		}
	},
	"roles and hosts that are none are refused": func(t trial) {
		for _, role := range []string{"", "Gateway", "a.b", "*"} {
			_, err := t.keeper.Certificates(t.Context(), role)
			require.Error(t, err, "%q", role)
		}
		for _, host := range []string{"", "a b", "https://localhost", "localhost:8443", "*"} {
			_, err := t.keeper.Certificates(t.Context(), secrets.GatewayRole, host)
			require.Error(t, err, "%q", host)
		}
	},
	"certificates live for hours and outlive the context of their renewal": func(t trial) {
		ctx, cancel := context.WithCancel(t.Context())
		sfu, err := t.keeper.Certificates(ctx, secrets.SFURole)
		require.NoError(t, err)
		cancel()
		require.WithinRange(t, sfu.NotAfter(), time.Now().Add(time.Minute), time.Now().Add(7*24*time.Hour))
		_, err = handshake(t, sfu.Server(secrets.GatewayRole), certificates(t, secrets.GatewayRole).Client(secrets.SFURole))
		require.NoError(t, err)
	},
}
