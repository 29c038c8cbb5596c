package vaultpolicies

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/zclconf/go-cty/cty"

	"github.com/wardline/wardline/core/secrets"
)

// Settings are what differs from region to region. JWKSURL or JWTKeys says whose workload identities count.
type Settings struct {
	// Region is the Nomad region whose workloads may log in.
	Region string
	// Namespace is the Nomad namespace of the jobs; empty means "default".
	Namespace string
	// JWKSURL is where the region's Nomad publishes its keys, such as "https://nomad.example:4646/.well-known/jwks.json".
	JWKSURL string
	// JWKSCA is the PEM authority of that URL; empty means those of Vault's system.
	JWKSCA string
	// JWTKeys are PEM public keys, where Vault cannot reach Nomad.
	JWTKeys []string
	// GatewayHosts and TURNHosts are further DNS names that certificates of these components may be for.
	GatewayHosts, TURNHosts []string
	// CertificateTTL is how long certificates live, one minute to seven days; zero means 12 h.
	CertificateTTL time.Duration
}

const (
	defaultNamespace      = "default"
	defaultCertificateTTL = 12 * time.Hour
)

var nomadName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

func (s *Settings) defaults() {
	if s.Namespace == "" {
		s.Namespace = defaultNamespace
	}
	if s.CertificateTTL == 0 {
		s.CertificateTTL = defaultCertificateTTL
	}
	// As Vault keeps them, so that the second application finds no difference.
	trimmed := make([]string, len(s.JWTKeys))
	for i, key := range s.JWTKeys {
		trimmed[i] = strings.TrimSpace(key)
	}
	s.JWTKeys = trimmed
}

// Check names what is wrong by its flag of "wardline secrets apply".
func (s Settings) Check() error {
	s.defaults()
	jwks, err := url.Parse(s.JWKSURL)
	switch {
	// Both become part of a pattern, in which '*' and ':' have a meaning.
	case !nomadName.MatchString(s.Region):
		return fmt.Errorf("--region %.40q: must match %s", s.Region, nomadName)
	case !nomadName.MatchString(s.Namespace):
		return fmt.Errorf("--namespace %.40q: must match %s", s.Namespace, nomadName)
	case (s.JWKSURL == "") == (len(s.JWTKeys) == 0):
		return errors.New("--jwks-url or --jwt-key-file: exactly one of them is needed, for the keys of workload identities")
	case s.JWKSURL != "" && (err != nil || jwks.Scheme != "https" || jwks.Host == ""):
		return fmt.Errorf("--jwks-url %q: must be https://HOST[:PORT]/PATH", s.JWKSURL)
	case s.CertificateTTL < time.Minute || s.CertificateTTL > 7*24*time.Hour:
		return fmt.Errorf("--certificate-ttl %s: must be 1m to 168h", s.CertificateTTL)
	}
	return cmp.Or(checkHosts("--gateway-host", s.GatewayHosts), checkHosts("--turn-host", s.TURNHosts))
}

func checkHosts(flag string, hosts []string) error {
	for _, host := range hosts {
		if err := secrets.CheckHost(host); err != nil {
			return fmt.Errorf("%s %.70q: %w", flag, host, err)
		}
	}
	return nil
}

// values are the variables of the HCL files.
func (s *Settings) values() map[string]cty.Value {
	return map[string]cty.Value{
		"region":          cty.StringVal(s.Region),
		"namespace":       cty.StringVal(s.Namespace),
		"jwks_url":        cty.StringVal(s.JWKSURL),
		"jwks_ca_pem":     cty.StringVal(s.JWKSCA),
		"jwt_keys":        texts(s.JWTKeys),
		"gateway_hosts":   texts(s.GatewayHosts),
		"turn_hosts":      texts(s.TURNHosts),
		"certificate_ttl": cty.NumberIntVal(int64(s.CertificateTTL / time.Second)),
	}
}

func texts(values []string) cty.Value {
	if len(values) == 0 {
		return cty.ListValEmpty(cty.String)
	}
	list := make([]cty.Value, len(values))
	for i, value := range values {
		list[i] = cty.StringVal(value)
	}
	return cty.ListVal(list)
}
