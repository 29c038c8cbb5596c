package discovery

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// ConsulTokens gives ACL tokens.
type ConsulTokens interface {
	// Token returns the token for requests to a datacenter, "" being the agent's own. Tokens that a datacenter's auth
	// method issues are good there alone, so there may be one for each.
	Token(datacenter string) (string, error)
}

// ConsulToken is one token for all.
type ConsulToken string

// Token implements ConsulTokens.
func (t ConsulToken) Token(string) (string, error) { return string(t), nil }

// ConsulTokenFile is a token in a file that somebody else keeps fresh, as Nomad does for a workload identity.
// A file that cannot be read leaves the last good token in use.
type ConsulTokenFile struct {
	own *secretFile
	// others are the files of other datacenters, by name.
	others map[string]*secretFile
}

// NewConsulTokenFile reads tokens from path, except those for the datacenters in others, which may be nil.
func NewConsulTokenFile(path string, others map[string]string) *ConsulTokenFile {
	f := &ConsulTokenFile{own: &secretFile{path: path}, others: make(map[string]*secretFile, len(others))}
	for datacenter, path := range others {
		f.others[datacenter] = &secretFile{path: path}
	}
	return f
}

// Token implements ConsulTokens.
func (f *ConsulTokenFile) Token(datacenter string) (string, error) {
	file := f.own
	if other := f.others[datacenter]; other != nil {
		file = other
	}
	token, err := file.read(time.Now())
	if err != nil {
		return "", fmt.Errorf("consul token file: %w", err)
	}
	return token, nil
}

// secretCheck is how often a secret's file is looked at, at most.
const secretCheck = time.Second

// maxSecretBytes bounds what is taken for a secret: it becomes an HTTP header.
const maxSecretBytes = 16 << 10

// secretFile is a secret in a file that somebody else replaces now and then.
type secretFile struct {
	path string

	mu      sync.Mutex
	secret  string
	checked time.Time
	changed time.Time
}

// read returns the last good secret, and an error only if there never was one.
func (f *secretFile) read(now time.Time) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.secret != "" && now.Sub(f.checked) < secretCheck {
		return f.secret, nil
	}
	f.checked = now
	err := f.refresh()
	if f.secret == "" && err != nil {
		return "", err
	}
	return f.secret, nil
}

func (f *secretFile) refresh() error {
	info, err := os.Stat(f.path) //nolint:gosec // G703: the path is configuration
	if err != nil {
		return err
	}
	if f.secret != "" && info.ModTime().Equal(f.changed) {
		return nil
	}
	data, err := os.ReadFile(f.path) //nolint:gosec // G703: the path is configuration
	if err != nil {
		return err
	}
	secret := strings.TrimSpace(string(data))
	if !isSecret(secret) {
		return fmt.Errorf("%s: must hold 1 to %d printable characters in one line", f.path, maxSecretBytes)
	}
	f.secret, f.changed = secret, info.ModTime()
	return nil
}

// isSecret reports whether a text can be sent as a token.
func isSecret(text string) bool {
	return text != "" && len(text) <= maxSecretBytes && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}
