//go:build linux

package deploy_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/test/stack/plan"
)

// tlsPorts are where each kind of node serves a certificate of Wardline's own authority.
var tlsPorts = map[plan.Kind][]string{plan.Gateway: {"8443", "7101"}, plan.Media: {"7201"}, plan.Relay: {"5349", "7202"}}

// joinEvery paces those who join while secrets change.
const joinEvery = 3 * time.Second

// rotates changes everything that can be changed while a visit with a relayed participant goes on and others come and go:
// token keys, shared secrets, intermediates and, since they live for certificateTTL only, all certificates.
func (w running) rotates(t *testing.T) {
	before := w.visit(t, "east", "clinician", "patient", "comes-and-goes")
	clinician := w.join(t, "west-guest-1", "east", before["clinician"], "--admit")
	patient := w.join(t, "east-guest-1", "west", before["patient"], "--relay")
	clinician.hears(t)
	patient.hears(t)
	require.Equal(t, "relay", patient.newest(t, "stats").Path)
	placed := clinician.newest(t, "placed")
	served := w.certificates(t)
	keys := w.tokenKeys(t)

	begun := time.Now()
	for _, region := range regions {
		for _, secret := range []string{"token", "turn", "roster"} {
			w.operate(t, region, "secrets", "rotate", secret)
		}
		require.NoError(t, w.NewIntermediate(t.Context(), region))
	}
	// Somebody at a time is enough, and leaves the processors to whoever is measured meanwhile.
	next := time.NewTicker(joinEvery)
	defer next.Stop()
	for round := 0; ; round++ {
		<-next.C
		require.Less(t, time.Since(begun), 5*time.Minute, "certificates and token keys in use have changed")
		comes := w.join(t, "east-guest-1", regions[round%len(regions)], before["comes-and-goes"], relayed(round)...)
		comes.hears(t)
		comes.leave()
		if w.renewed(t, served) && w.replaced(t, keys) {
			t.Logf("all in use is new after %.0f s and %d joins with a token from before", time.Since(begun).Seconds(), round+1)
			break
		}
	}
	for i, region := range regions {
		after := w.visit(t, region, "clinician-"+region, "patient-"+region)
		there := w.join(t, "east-guest-1", regions[(i+1)%len(regions)], after["clinician-"+region], "--admit")
		here := w.join(t, region+"-guest-1", regions[(i+2)%len(regions)], after["patient-"+region], "--relay")
		there.hears(t)
		here.hears(t)
		require.Equal(t, "relay", here.newest(t, "stats").Path)
	}

	for other, p := range map[string]*participant{"patient": clinician, "clinician": patient} {
		p.hears(t)
		require.Less(t, p.longestGap(other), time.Second, "of %s", other)
		_, lost := p.last("lost")
		require.False(t, lost, "who hears %s kept the connection", other)
	}
	require.Equal(t, placed, clinician.newest(t, "placed"), "nobody was moved")
	require.Empty(t, w.complaints(t, begun), "about TLS or a refused login, in the logs of all allocations")
}

// relayed sends who comes to a region through a relay every second time.
func relayed(round int) []string {
	if round/len(regions)%2 == 0 {
		return nil
	}
	return []string{"--relay"}
}

// operate runs a command of wardline with an operator's rights in a region's Vault.
func (w running) operate(t *testing.T, region string, args ...string) {
	t.Helper()
	var made struct {
		Auth struct {
			Token string `json:"client_token"`
		}
	}
	body := map[string]any{"policies": []string{"wardline-operator"}, "no_default_policy": true, "no_parent": true, "ttl": "5m"}
	require.NoError(t, w.Vault(region).Put(t.Context(), "/v1/auth/token/create", body, &made))
	*w.told = append(*w.told, made.Auth.Token)
	cmd := exec.CommandContext(t.Context(), w.release.Binary, args...)
	cmd.Env = append(os.Environ(), append(w.Env(region), "VAULT_TOKEN="+made.Auth.Token)...)
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
}

// certificates are what all instances serve, by address. Each is good under the root authority.
func (w running) certificates(t *testing.T) map[string]*x509.Certificate {
	t.Helper()
	root, err := os.ReadFile(w.RootFile())
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(root))
	served, own := map[string]*x509.Certificate{}, w.gatewayCertificate(t)
	for _, n := range w.Plan().Nodes() {
		for _, port := range tlsPorts[n.Kind] {
			address := net.JoinHostPort(n.Addr.String(), port)
			chain := present(t, address, own)
			options := x509.VerifyOptions{
				Roots: roots, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
			}
			for _, authority := range chain[1:] {
				options.Intermediates.AddCert(authority)
			}
			_, err := chain[0].Verify(options)
			require.NoError(t, err, address)
			served[address] = chain[0]
		}
	}
	require.NotEmpty(t, served)
	return served
}

// gatewayCertificate is a new certificate as a gateway, which is welcome everywhere.
func (w running) gatewayCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	var issued struct {
		Data struct {
			Certificate string
			Key         string   `json:"private_key"`
			Chain       []string `json:"ca_chain"`
		}
	}
	body := map[string]string{"common_name": "gateway" + secrets.NameSuffix}
	require.NoError(t, w.Vault(regions[0]).Put(t.Context(), "/v1/wardline/pki/issue/gateway", body, &issued))
	chain := strings.Join(append([]string{issued.Data.Certificate}, issued.Data.Chain...), "\n")
	pair, err := tls.X509KeyPair([]byte(chain), []byte(issued.Data.Key))
	require.NoError(t, err)
	return pair
}

// present has a server show its certificates to somebody who has one.
func present(t *testing.T, address string, own tls.Certificate) (chain []*x509.Certificate) {
	t.Helper()
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: &tls.Config{
		Certificates:       []tls.Certificate{own},
		InsecureSkipVerify: true, // verified by the caller, against the root alone
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			for _, der := range raw {
				cert, err := x509.ParseCertificate(der)
				if err != nil {
					return err
				}
				chain = append(chain, cert)
			}
			return nil
		},
	}}
	conn, err := dialer.DialContext(t.Context(), "tcp", address)
	if err == nil {
		_ = conn.Close()
	}
	require.NotEmpty(t, chain, "%s: %v", address, err)
	return chain
}

// renewed says whether every certificate is another one, by another intermediate.
func (w running) renewed(t *testing.T, before map[string]*x509.Certificate) bool {
	t.Helper()
	now := w.certificates(t)
	for address, old := range before {
		if bytes.Equal(now[address].AuthorityKeyId, old.AuthorityKeyId) {
			return false
		}
	}
	return true
}

// tokenKeys are the ids of the keys that each region's first gateway signs join tokens with.
func (w running) tokenKeys(t *testing.T) map[string]string {
	t.Helper()
	keys := map[string]string{}
	for _, region := range regions {
		token := w.visit(t, region, "nobody")["nobody"]
		text, _, _ := strings.Cut(token, ".")
		header, err := base64.RawURLEncoding.DecodeString(text)
		require.NoError(t, err)
		var parsed struct{ Kid string }
		require.NoError(t, json.Unmarshal(header, &parsed))
		require.NotEmpty(t, parsed.Kid)
		keys[region] = parsed.Kid
	}
	return keys
}

func (w running) replaced(t *testing.T, before map[string]string) bool {
	t.Helper()
	for region, key := range w.tokenKeys(t) {
		if key == before[region] {
			return false
		}
	}
	return true
}

// complained are words of a log line that no rotation may be the reason of.
var complained = []string{"tls", "x509", "certificate", "denied", "unauthorized", "refused"}

// complaints are the warnings and errors of all components since then that have one of these words.
func (w running) complaints(t *testing.T, since time.Time) []string {
	t.Helper()
	var found []string
	lines := 0
	for path, text := range w.taskLogs(t) {
		for line := range strings.Lines(text) {
			var entry struct {
				Level string
				Time  time.Time
			}
			if json.Unmarshal([]byte(line), &entry) != nil {
				continue
			}
			lines++
			if entry.Time.Before(since) {
				continue
			}
			if entry.Level != "warn" && entry.Level != "error" && entry.Level != "fatal" {
				continue
			}
			for _, word := range complained {
				if strings.Contains(strings.ToLower(line), word) {
					found = append(found, fmt.Sprintf("%s: %s", path, strings.TrimSpace(line)))
					break
				}
			}
		}
	}
	require.NotZero(t, lines, "the logs are where they are looked for")
	return found
}
