package secrets

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"
)

func publicKeyData(t *testing.T, versions ...string) map[string]any {
	t.Helper()
	keys := map[string]any{}
	for _, version := range versions {
		public, _, err := ed25519.GenerateKey(rand.Reader)
		require.NoError(t, err)
		keys[version] = map[string]any{"public_key": base64.StdEncoding.EncodeToString(public)}
	}
	return map[string]any{"keys": keys, "min_decryption_version": json.Number("2")}
}

func TestRetiredVersionsAreNotPublished(t *testing.T) {
	versions, err := parseTokenVersions(publicKeyData(t, "1", "2", "3", "10"))
	require.NoError(t, err)
	require.Len(t, versions, 3)
	require.Equal(t, 10, versions.latest())
	require.Equal(t, 2, versions[2].number)
	for name, damage := range map[string]func(map[string]any){
		"no keys":     func(d map[string]any) { delete(d, "keys") },
		"no minimum":  func(d map[string]any) { delete(d, "min_decryption_version") },
		"a fraction":  func(d map[string]any) { d["min_decryption_version"] = json.Number("1.5") },
		"all retired": func(d map[string]any) { d["min_decryption_version"] = json.Number("11") },
		"no number":   func(d map[string]any) { d["keys"] = map[string]any{"x": nil} },
		"no key":      func(d map[string]any) { d["keys"] = map[string]any{"3": map[string]any{"public_key": "AAAA"}} },
		"nothing":     func(d map[string]any) { d["keys"] = map[string]any{"3": nil} },
	} {
		data := publicKeyData(t, "2", "3")
		damage(data)
		_, err := parseTokenVersions(data)
		require.Error(t, err, name)
	}
}

func TestWellWrapped(t *testing.T) {
	require.True(t, wellWrapped("vault:v1:AAAA"))
	for _, text := range []string{
		"", "vault:v1:", "vault:v0:AAAA", "vault:v01:AAAA", "vault:v1:AAA", "vault:v1:AAB=",
		"vault:v1:AA\nAA", " vault:v1:AAAA", "local:v1:AAAA",
	} {
		require.False(t, wellWrapped(text), "%q", text)
	}
}

func TestTenantsThatVaultCannotNameAKeyAfter(t *testing.T) {
	for tenant, ok := range map[string]bool{
		"clinic": true, "a.b-c_": true, "A1": true, "a-": false, "a.": false, "..": false, "a/b": false, "": false,
	} {
		path, err := tenantPath("decrypt/NAME", tenant)
		require.Equal(t, ok, err == nil, "%q", tenant)
		if ok {
			require.Equal(t, "wardline/tenants/decrypt/"+tenant, path)
		}
	}
}

func TestPoolHoldsKeysReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tasks := newTasks()
		defer tasks.stop()
		var fail error
		made := 0
		pool := newKeyPool(tasks, normalVaultPace, func(context.Context, string) (DataKey, error) {
			if fail != nil {
				return DataKey{}, fail
			}
			made++
			return DataKey{Plain: []byte{byte(made)}, Wrapped: []byte{byte(made)}}, nil
		})
		take := func() (DataKey, error) {
			key, err := pool.take(t.Context(), "clinic")
			synctest.Wait()
			return key, err
		}
		_, err := take()
		require.NoError(t, err)
		require.Equal(t, 1+poolKeys, made)

		time.Sleep(normalVaultPace.poolAge + time.Second)
		key, err := take()
		require.NoError(t, err)
		require.Equal(t, []byte{2 + poolKeys}, key.Wrapped, "those that are ready are too old")
		require.Equal(t, 2+2*poolKeys, made, "and replaced")

		fail = fmt.Errorf("vault: %w", ErrUnavailable)
		time.Sleep(normalVaultPace.poolAge + time.Second)
		seen := map[string]bool{}
		for range poolKeys {
			key, err := take()
			require.NoError(t, err, "in need, old ones are good enough")
			require.False(t, seen[string(key.Wrapped)], "no key twice")
			seen[string(key.Wrapped)] = true
		}
		_, err = take()
		require.ErrorIs(t, err, ErrUnavailable)
		require.ErrorContains(t, err, `no prefetched data key of tenant "clinic" is left`)

		fail = nil
		_, err = take()
		require.NoError(t, err)
		fail = ErrNotFound
		time.Sleep(normalVaultPace.poolAge + time.Second)
		_, err = take()
		require.ErrorIs(t, err, ErrNotFound)
		fail = ErrUnavailable
		_, err = take()
		require.ErrorIs(t, err, ErrUnavailable, "a destroyed tenant's keys are not handed out")
	})
}

func TestPoolIsBounded(t *testing.T) {
	tasks := newTasks()
	pool := newKeyPool(tasks, normalVaultPace, func(context.Context, string) (DataKey, error) { return DataKey{}, nil })
	for i := range poolTenants + 10 {
		_, err := pool.take(t.Context(), fmt.Sprint(i))
		require.NoError(t, err)
	}
	tasks.stop()
	require.Len(t, pool.tenants, poolTenants)
	pool.clear()
	require.Empty(t, pool.tenants)
}

func issuedAnswer(t *testing.T, change func(map[string]any)) (issued, error) {
	t.Helper()
	var ca authority
	now := time.Now()
	require.NoError(t, ca.create(now))
	fresh, err := ca.issue([]string{SFURole + NameSuffix}, nil, now)
	require.NoError(t, err)
	key, ok := fresh.certificate.PrivateKey.(*ecdsa.PrivateKey)
	require.True(t, ok)
	leaf := authority{Certificate: fresh.certificate.Certificate[0]}
	data := map[string]any{"certificate": string(leaf.pem()), "ca_chain": []any{string(ca.pem())}}
	change(data)
	if data["other key"] != nil {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
	}
	return parseIssued(&api.Secret{Data: data}, key)
}

func TestIssuedCertificatesAreChecked(t *testing.T) {
	fresh, err := issuedAnswer(t, func(map[string]any) {})
	require.NoError(t, err)
	name := []string{SFURole + NameSuffix}
	require.NoError(t, fresh.check(name, time.Now()))
	require.ErrorContains(t, fresh.check([]string{GatewayRole + NameSuffix}, time.Now()), "does not verify")
	require.ErrorContains(t, fresh.check(name, time.Now().Add(-time.Hour)), "check the clocks")
	require.ErrorContains(t, fresh.check(name, time.Now().Add(certificateLife+time.Hour)), "check the clocks")

	for says, change := range map[string]func(map[string]any){
		"has no certificate": func(d map[string]any) { delete(d, "certificate") },
		"another key":        func(d map[string]any) { d["other key"] = true },
		"no root":            func(d map[string]any) { delete(d, "ca_chain") },
		"at most 8":          func(d map[string]any) { d["ca_chain"] = make([]any, 9) },
		"chain": func(d map[string]any) {
			d["ca_chain"] = []any{"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}
		},
	} {
		_, err := issuedAnswer(t, change)
		require.ErrorContains(t, err, says)
	}
}

func FuzzTokenVersions(f *testing.F) {
	f.Add([]byte(`{"keys":{"1":{"public_key":"AAAA"}},"min_decryption_version":1}`))
	f.Add([]byte(`{"keys":{"0":null}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		secret, err := api.ParseSecret(strings.NewReader(`{"data":` + string(text) + `}`))
		if err != nil || secret == nil {
			return
		}
		if versions, err := parseTokenVersions(secret.Data); err == nil {
			require.NotEmpty(t, versions)
			require.GreaterOrEqual(t, versions.latest(), versions[len(versions)-1].number)
		}
		if secret.Data != nil {
			_, _ = parseShared(secret)
			_, _ = decodeDataKey(secret.Data)
		}
	})
}

func FuzzSignature(f *testing.F) {
	f.Add("vault:v1:"+base64.StdEncoding.EncodeToString(make([]byte, ed25519.SignatureSize)), 1)
	f.Add("vault:v2:", 2)
	f.Fuzz(func(t *testing.T, text string, version int) {
		if signature, err := parseSignature(text, version); err == nil {
			require.Len(t, signature, ed25519.SignatureSize)
		}
		_ = wellWrapped(text)
	})
}

func FuzzClaimTime(f *testing.F) {
	f.Add([]byte("e30.eyJleHAiOjE3NDB9.c2ln"))
	f.Add([]byte("a.b"))
	f.Fuzz(func(t *testing.T, jwt []byte) {
		if at, ok := claimTime(jwt, "exp"); ok {
			require.LessOrEqual(t, at.UTC().Year(), 9999)
		}
	})
}

func FuzzIssued(f *testing.F) {
	f.Add("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, certificate, chain string) {
		_, err := parseIssued(&api.Secret{Data: map[string]any{"certificate": certificate, "ca_chain": []any{chain}}}, key)
		require.Error(t, err, "nobody signed for this key")
	})
}
