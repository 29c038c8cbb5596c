package secrets

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// renewRetry is how long a failed renewal is not tried again.
	renewRetry = 10 * time.Second
	// renewNumerator over renewDenominator of its life is when a certificate is replaced.
	renewNumerator, renewDenominator = 2, 3
)

// issued is one certificate with the roots that peers are checked against.
type issued struct {
	certificate *tls.Certificate // Leaf is set
	roots       *x509.CertPool
	// at is when it came; the certificate itself begins earlier, for peers whose clock is behind.
	at time.Time
}

func (i issued) renewAt() time.Time {
	return i.at.Add(i.certificate.Leaf.NotAfter.Sub(i.at) * renewNumerator / renewDenominator)
}

// source is a CertificateSource that renews when it is asked for a certificate past two thirds of its life,
// so it needs no goroutine; an unused certificate need not be fresh. Where issuing may take long, keep renews
// instead, so that no handshake waits for it.
type source struct {
	// alive ends with the context of Certificates; after that the certificate in hand is the last.
	alive context.Context
	issue func(context.Context) (issued, error)
	now   func() time.Time
	// kept says that keep renews.
	kept bool

	mu      sync.Mutex
	held    issued
	retryAt time.Time
	failure error // of the last renewal
}

var _ CertificateSource = (*source)(nil)

func newSource(ctx context.Context, now func() time.Time, issue func(context.Context) (issued, error)) (*source, error) {
	first, err := issue(ctx)
	if err != nil {
		return nil, err
	}
	first.at = now()
	return &source{alive: ctx, issue: issue, now: now, held: first}, nil
}

// current returns the certificate in hand, renewed if that is due. Failing to renew is no failure before the
// certificate ends.
func (s *source) current() (issued, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if !s.kept && s.alive.Err() == nil && !now.Before(s.held.renewAt()) && !now.Before(s.retryAt) {
		fresh, err := s.issue(s.alive)
		if err != nil {
			s.retryAt = now.Add(renewRetry)
		}
		s.take(fresh, err)
	}
	if end := s.held.certificate.Leaf.NotAfter; now.After(end) {
		return s.held, errors.Join(fmt.Errorf("certificate ended %s", end.Format(time.RFC3339)), s.failure)
	}
	return s.held, nil
}

// keep renews until ctx ends: at two thirds of the certificate's life, and after a failure with a growing rest. It
// looks at the clock every watch, because a machine that was suspended has missed its timers.
func (s *source) keep(ctx context.Context, watch time.Duration, rest func(failures int) time.Duration, failed func(error)) {
	look := time.NewTicker(watch)
	defer look.Stop()
	failures := 0
	var next time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		now := s.now()
		if now.Before(s.dueAt()) || now.Before(next) {
			continue
		}
		fresh, err := s.issue(ctx)
		if ctx.Err() != nil {
			return
		}
		s.mu.Lock()
		s.take(fresh, err)
		s.mu.Unlock()
		if err == nil {
			failures, next = 0, time.Time{}
			continue
		}
		failures++
		next = s.now().Add(rest(failures))
		failed(err)
	}
}

func (s *source) dueAt() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held.renewAt()
}

// take takes in how a renewal ended. The caller holds mu.
func (s *source) take(fresh issued, err error) {
	if s.failure = err; err == nil {
		fresh.at = s.now()
		s.held = fresh
	}
}

func (s *source) certificate() (*tls.Certificate, error) {
	held, err := s.current()
	if err != nil {
		return nil, err
	}
	return held.certificate, nil
}

// roots are those that came with the newest certificate.
func (s *source) roots() *x509.CertPool {
	held, _ := s.current() // an ended certificate still has its roots
	return held.roots
}

// NotAfter implements CertificateSource.
func (s *source) NotAfter() time.Time {
	held, _ := s.current() // the end is told, passed or not
	return held.certificate.Leaf.NotAfter
}

// Server implements CertificateSource.
func (s *source) Server(peers ...string) *tls.Config {
	config := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		Time:           s.now,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificate() },
	}
	if len(peers) == 0 {
		return config
	}
	config.MinVersion = tls.VersionTLS13
	config.ClientAuth = tls.RequireAndVerifyClientCert
	config.ClientCAs = s.roots()
	config.VerifyConnection = func(state tls.ConnectionState) error {
		return s.verify(state, x509.ExtKeyUsageClientAuth, peers)
	}
	// ClientCAs would stay those of now for as long as the configuration is used.
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		current := config.Clone()
		current.ClientCAs, current.GetConfigForClient = s.roots(), nil
		return current, nil
	}
	return config
}

// Client implements CertificateSource.
func (s *source) Client(peer string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		Time:       s.now,
		ServerName: peer + NameSuffix,
		RootCAs:    s.roots(),
		// RootCAs would stay those of now for as long as the configuration is used; verify takes those of the moment.
		InsecureSkipVerify: true, //nolint:gosec // G402: VerifyConnection verifies
		VerifyConnection: func(state tls.ConnectionState) error {
			return s.verify(state, x509.ExtKeyUsageServerAuth, []string{peer})
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return s.certificate()
		},
	}
}

// verify accepts a peer whose certificate leads to a root that came with the newest certificate, so that a new root is
// trusted without a restart, and names one of the roles. It runs for resumed sessions too.
func (s *source) verify(state tls.ConnectionState, usage x509.ExtKeyUsage, roles []string) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the peer has no certificate")
	}
	leaf, between := state.PeerCertificates[0], x509.NewCertPool()
	for _, authority := range state.PeerCertificates[1:] {
		between.AddCert(authority)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: s.roots(), Intermediates: between, CurrentTime: s.now(), KeyUsages: []x509.ExtKeyUsage{usage},
	})
	if err != nil {
		return fmt.Errorf("the peer's certificate: %w", err)
	}
	for _, role := range roles {
		if slices.Contains(leaf.DNSNames, role+NameSuffix) {
			return nil
		}
	}
	return fmt.Errorf("the peer's certificate is for %q: must be for a role of %q", leaf.DNSNames, roles)
}

var (
	// labelPattern is what roles and shared secrets are called.
	labelPattern = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)
	hostPattern  = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*$`)
)

// certificateNames checks what a certificate is to be valid for: the role's own name first, then hosts.
func certificateNames(role string, hosts []string) (names []string, addresses []net.IP, err error) {
	if !labelPattern.MatchString(role) {
		return nil, nil, fmt.Errorf("certificate role %.40q: must match %s", role, labelPattern)
	}
	names = []string{role + NameSuffix}
	for _, host := range hosts {
		if address := net.ParseIP(host); address != nil {
			if !slices.ContainsFunc(addresses, address.Equal) {
				addresses = append(addresses, address)
			}
			continue
		}
		if err := CheckHost(host); err != nil {
			return nil, nil, fmt.Errorf("certificate host %.70q, which is no IP address: %w", host, err)
		}
		if name := strings.ToLower(host); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, addresses, nil
}

// CheckHost says what is wrong with a DNS name that a role's certificates are to be for besides the role's own name.
func CheckHost(host string) error {
	name := strings.ToLower(host)
	switch {
	case len(name) > 253 || !hostPattern.MatchString(name) || net.ParseIP(name) != nil:
		return errors.New("must be a DNS name")
	case strings.HasSuffix("."+name, NameSuffix): // what a role is known by must not be had by asking for a host
		return fmt.Errorf("names under %q belong to roles", NameSuffix[1:])
	}
	return nil
}
