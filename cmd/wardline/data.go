package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"

	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/tenants"
)

// The data folder of "wardline dev" and the names in it.
const (
	defaultData = "data"
	// devTenant is the tenant that wardline dev registers for itself.
	devTenant = "dev"
	// devTenantKeyID is the "kid" of the dev tenant's API key.
	devTenantKeyID = "dev-1"
)

func secretsDir(data string) string   { return filepath.Join(data, "secrets") }
func tenantsDir(data string) string   { return filepath.Join(data, "tenants") }
func discoveryDir(data string) string { return filepath.Join(data, "discovery") }
func statePath(data string) string    { return filepath.Join(data, "dev.json") }
func tenantKeyPath(data string) string {
	return filepath.Join(tenantsDir(data), devTenant+".key.pem")
}

// joinLink is what a participant opens. The fragment never leaves the browser.
func joinLink(base, token string) string { return base + "/visit#" + token }

// devState is what a running gateway leaves in the data folder for the other commands.
type devState struct {
	URL string `json:"url"`
	PID int    `json:"pid"`
}

func writeState(data, url string) error {
	content, err := json.Marshal(devState{URL: url, PID: os.Getpid()})
	if err != nil {
		return err
	}
	return renameio.WriteFile(statePath(data), content, 0o600)
}

func readState(data string) (state devState, err error) {
	content, err := os.ReadFile(statePath(data))
	if err != nil {
		return state, fmt.Errorf("--data: %w", err)
	}
	if err := json.Unmarshal(content, &state); err != nil {
		return state, fmt.Errorf("%s: %w", statePath(data), err)
	}
	return state, nil
}

// removeState takes back what writeState left, unless another gateway has come to the folder since.
func removeState(data, url string) error {
	state, err := readState(data)
	if err == nil && state == (devState{URL: url, PID: os.Getpid()}) {
		err = os.Remove(statePath(data))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// runningURL finds the base URL of the gateway that runs on the folder; instead is the flag that says it otherwise.
func runningURL(data, instead string) (string, error) {
	state, err := readState(data)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !lives(state.PID) { // one that was killed leaves its state
		return "", fmt.Errorf("no wardline dev runs on --data %s; start it, or give %s", data, instead)
	}
	return state.URL, err
}

// lives reports whether a process is there, also where that cannot be found out.
func lives(pid int) bool {
	process, err := os.FindProcess(pid)
	return err == nil && !errors.Is(process.Signal(syscall.Signal(0)), os.ErrProcessDone)
}

// registerDevTenant gives the dev tenant its API key and registers the public half, once.
func registerDevTenant(ctx context.Context, data string, registered *tenants.Dir) error {
	key, err := devTenantKey(data)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = createDevTenantKey(data)
	}
	if err != nil {
		return err
	}
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return fmt.Errorf("%s: not an Ed25519 key", tenantKeyPath(data))
	}
	return registered.Register(ctx, devTenant, []secrets.PublicKey{{ID: devTenantKeyID, Key: public}})
}

func createDevTenantKey(data string) (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(tenantsDir(data), 0o700); err != nil {
		return nil, err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return key, renameio.WriteFile(tenantKeyPath(data), block, 0o600)
}

func devTenantKey(data string) (ed25519.PrivateKey, error) { return readTenantKey(tenantKeyPath(data)) }

// readTenantKey reads a tenant's private API key, PKCS #8 in PEM.
func readTenantKey(path string) (ed25519.PrivateKey, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM block", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: %T, must be an Ed25519 key", path, parsed)
	}
	return key, nil
}
