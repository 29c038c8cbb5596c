package hangup_test

import (
	"crypto/tls"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/hangup"
	"github.com/wardline/wardline/core/secrets"
)

func TestNobodyIsWaitedFor(t *testing.T) {
	keeper, err := secrets.OpenLocal(filepath.Join(t.TempDir(), "keys"))
	require.NoError(t, err)
	certificates, err := keeper.Certificates(t.Context(), secrets.GatewayRole, "127.0.0.1")
	require.NoError(t, err)
	for name, secured := range map[string]bool{"TLS": true, "plain": false} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := net.Pipe() // which nobody reads
			defer func() { _ = theirs.Close() }()
			conn := ours
			if secured {
				server, client := tls.Server(ours, certificates.Server(secrets.GatewayRole)),
					tls.Client(theirs, certificates.Client(secrets.GatewayRole))
				shaken := make(chan error, 1)
				go func() { shaken <- client.HandshakeContext(t.Context()) }()
				require.NoError(t, server.HandshakeContext(t.Context()))
				require.NoError(t, <-shaken)
				conn = server
			}
			began := time.Now()
			hangup.Now(conn)
			require.Less(t, time.Since(began), time.Second)
			_, err := theirs.Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF)
		})
	}
}
