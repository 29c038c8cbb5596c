package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/secrets/vaulttest"
	"github.com/wardline/wardline/core/tenants"
	"github.com/wardline/wardline/edge/client"
	"github.com/wardline/wardline/edge/drill/scenario"
	"github.com/wardline/wardline/edge/drill/tenant"
)

// presented is the certificate that a TLS server shows, and who signed it.
func presented(t *testing.T, address string) *x509.Certificate {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12} // it is looked at, not trusted
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", address, config)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	return conn.ConnectionState().PeerCertificates[0]
}

// shorten has the region's authority sign for seconds.
func (r vaultRegion) shorten(t *testing.T, ttl string) {
	t.Helper()
	for _, role := range []string{secrets.GatewayRole, secrets.SFURole, secrets.TURNRole} {
		path := secrets.PKIMount + "/roles/" + role
		read, err := r.Root.Logical().Read(path)
		require.NoError(t, err)
		read.Data["ttl"], read.Data["max_ttl"] = ttl, ttl
		_, err = r.Root.Logical().Write(path, read.Data)
		require.NoError(t, err)
	}
}

// TestCertificatesChangeUnderAVisit gives the region a new intermediate and renews every component's certificate by it and
// again while two people talk through a relay: nobody notices, and who comes later is let in.
func TestCertificatesChangeUnderAVisit(t *testing.T) {
	t.Parallel()
	vaulttest.Binary(t)
	rootDir := t.TempDir()
	r := setUpVault(t, "east", rootDir)
	r.shorten(t, "8s")
	data := t.TempDir()
	folder, err := discovery.OpenFolder(discoveryDir(data))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, folder.Close()) })
	key, _, public := writeKeyPair(t)
	registered, err := readPublicKeys([]string{public})
	require.NoError(t, err)
	require.NoError(t, tenants.NewKV(folder).Register(t.Context(), "clinic", registered))

	servers := map[string]string{"gateway": freeAddress(t), "sfu": freeAddress(t), "turn": freeAddress(t)}
	members := make(map[string]*running)
	for component, flags := range map[string][]string{
		"gateway": {"--http", servers["gateway"]},
		"sfu":     {"--media", "127.0.0.1:0", "--control", servers["sfu"]},
		"turn":    {"--turn", "127.0.0.1:0", "--turn-tls", servers["turn"]},
	} {
		args := append([]string{component, "--data", data, "--region", "east"}, flags...)
		members[component] = startMember(t, append(args, r.flags(t, component)...)...)
	}
	for _, member := range members {
		member.logs.await(t, `"message":"serving"`)
	}

	trusted, err := trustedBy(r.root)
	require.NoError(t, err)
	url := "https://" + servers["gateway"]
	created, err := tenant.New("clinic", registered[0].ID, key, trusted).Create(t.Context(), []string{url}, scenario.Visit{
		Participants: []scenario.Participant{
			{Name: "d-1", Role: access.Provider}, {Name: "p-1", Role: access.Patient}, {Name: "i-1", Role: access.Interpreter},
		},
	})
	require.NoError(t, err)
	person := func(name string) *attendee {
		return visit(t, client.Config{
			Gateways: []string{url}, TLS: trusted.Clone(), Token: created.Tokens[name], RelayOnly: name != "d-1", Admit: name == "d-1",
		})
	}
	provider, patient := person("d-1"), person("p-1")
	provider.hears(t, "p-1", "host")
	patient.hears(t, "d-1", "relay")

	snapshot := func() map[string]*x509.Certificate {
		all := make(map[string]*x509.Certificate)
		for component, address := range servers {
			all[component] = presented(t, address)
		}
		return all
	}
	await := func(what string, before map[string]*x509.Certificate, is func(now, before *x509.Certificate) bool) {
		for component, address := range servers {
			require.Eventually(t, func() bool { return is(presented(t, address), before[component]) }, 30*time.Second, 200*time.Millisecond,
				"%s: %s", component, what)
		}
	}
	renewed := func(now, before *x509.Certificate) bool { return now.SerialNumber.Cmp(before.SerialNumber) != 0 }
	resigned := func(now, before *x509.Certificate) bool {
		return !bytes.Equal(now.AuthorityKeyId, before.AuthorityKeyId)
	}
	before := snapshot()
	r.newIntermediate(t, rootDir)
	await("signed by the new intermediate", before, resigned)
	await("renewed by it", snapshot(), renewed)

	provider.hears(t, "p-1", "host")
	patient.hears(t, "d-1", "relay")
	interpreter := person("i-1")
	interpreter.hears(t, "p-1", "relay")
	for _, one := range []*attendee{provider, patient} {
		require.False(t, one.has(func(e client.Event) bool { return e.Kind == client.Lost || e.Kind == client.Bye }), "nobody was cut off")
	}
	for component, member := range members {
		require.NotRegexp(t, `(?i)tls: |x509: |control channel (lost|broken)`, member.logs.String(), component)
	}
	for _, member := range members {
		member.stop()
		require.Equal(t, exitOK, <-member.exit)
	}
}
