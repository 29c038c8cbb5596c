package secrets

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// helperProcess makes the test binary act as a second process on the folder it is started in.
const helperProcess = "WARDLINE_TEST_SECOND_PROCESS"

func TestMain(m *testing.M) {
	if os.Getenv(helperProcess) != "" {
		os.Exit(secondProcess())
	}
	_ = flag.Set("test.parallel", "32") // they wait for servers, and for each other, most of the time
	goleak.VerifyTestMain(exitHook{m})
}

// exitHook ends what the tests share before goleak looks.
type exitHook struct{ m *testing.M }

func (e exitHook) Run() int {
	code := e.m.Run()
	if AtExit != nil {
		AtExit()
	}
	return code
}

// secondProcess makes and rotates keys as fast as it can beside its parent.
func secondProcess() int {
	keeper, err := OpenLocal(".")
	for range 20 {
		err = errors.Join(err, keeper.CreateTenant(context.Background(), "clinic"), keeper.RotateTenant(context.Background(), "clinic"))
	}
	if err != nil {
		_, _ = os.Stderr.WriteString(err.Error())
		return 1
	}
	return 0
}

func openTemp(t *testing.T) *Local {
	t.Helper()
	keeper, err := OpenLocal(filepath.Join(t.TempDir(), "secrets"))
	require.NoError(t, err)
	return keeper
}

// useEverything makes every kind of file.
func useEverything(t *testing.T, keeper *Local) {
	t.Helper()
	ctx := t.Context()
	_, err := keeper.PublicKeys(ctx)
	require.NoError(t, err)
	_, err = keeper.Shared(ctx, TURNSecret)
	require.NoError(t, err)
	_, err = keeper.CAFile(ctx)
	require.NoError(t, err)
	require.NoError(t, keeper.CreateTenant(ctx, "clinic"))
}

func TestOnlyTheOwnerCanReadTheFolder(t *testing.T) {
	keeper := openTemp(t)
	useEverything(t, keeper)
	files := 0
	require.NoError(t, filepath.WalkDir(keeper.folder.path, func(path string, entry fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := entry.Info()
		require.NoError(t, err)
		want := fs.FileMode(fileMode)
		if entry.IsDir() {
			want = folderMode
		} else {
			files++
		}
		require.Equal(t, want, info.Mode().Perm(), path)
		return nil
	}))
	require.Equal(t, 6, files, "lock, token keys, shared secret, authority and its certificate, tenant")
}

func TestFolderThatOthersCanReadIsRefused(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o750))
	_, err := OpenLocal(dir)
	require.ErrorContains(t, err, dir)
	require.ErrorContains(t, err, "mode 0750 lets other users in, must be 0700")
}

func TestFileInPlaceOfTheFolderIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err := OpenLocal(path)
	require.ErrorContains(t, err, path)
}

func TestFileThatOthersCanReadIsRefused(t *testing.T) {
	keeper := openTemp(t)
	useEverything(t, keeper)
	require.NoError(t, os.Chmod(keeper.folder.file(signingKeysName), 0o644))
	_, err := keeper.PublicKeys(t.Context())
	require.ErrorContains(t, err, "signing-keys.json: mode 0644 lets other users read it")
}

func TestDamagedFilesAreNamedAndLeftAlone(t *testing.T) {
	ctx := context.Background()
	uses := map[string][]func(*Local) error{
		signingKeysName: {
			func(l *Local) error { _, err := l.PublicKeys(ctx); return err },
			func(l *Local) error { return l.RotateTokenKey(ctx) },
		},
		"shared-turn.json": {
			func(l *Local) error { _, err := l.Shared(ctx, TURNSecret); return err },
			func(l *Local) error { return l.RotateShared(ctx, TURNSecret) },
		},
		authorityName: {
			func(l *Local) error { _, err := l.Certificates(ctx, SFURole); return err },
			func(l *Local) error { _, err := l.CAFile(ctx); return err },
		},
		caFileName: {func(l *Local) error { _, err := l.CAFile(ctx); return err }},
		"tenants/clinic.json": {
			func(l *Local) error { _, err := l.NewDataKey(ctx, "clinic"); return err },
			func(l *Local) error { return l.RotateTenant(ctx, "clinic") },
			func(l *Local) error { return l.CreateTenant(ctx, "clinic") },
		},
	}
	damages := map[string]func([]byte) []byte{
		"empty":         func([]byte) []byte { return nil },
		"cut":           func(content []byte) []byte { return content[:len(content)/2] },
		"empty object":  func([]byte) []byte { return []byte("{}") },
		"other members": func([]byte) []byte { return []byte(`{"other": 1}`) },
		"not JSON":      func([]byte) []byte { return make([]byte, 64) },
		"twice":         func(content []byte) []byte { return append(bytes.Clone(content), content...) },
		"huge":          func([]byte) []byte { return bytes.Repeat([]byte{' '}, maxFileBytes+1) },
	}
	for file, operations := range uses {
		for damage, apply := range damages {
			t.Run(file+" "+damage, func(t *testing.T) {
				keeper := openTemp(t)
				useEverything(t, keeper)
				path := keeper.folder.file(file)
				whole, err := os.ReadFile(path)
				require.NoError(t, err)
				damaged := apply(whole)
				require.NoError(t, os.WriteFile(path, damaged, fileMode))

				for _, operation := range operations {
					err := operation(keeper)
					require.ErrorContains(t, err, path)
					require.NotErrorIs(t, err, ErrNotFound)
				}
				after, err := os.ReadFile(path)
				require.NoError(t, err)
				require.True(t, bytes.Equal(damaged, after), "the damaged file was overwritten")
			})
		}
	}
}

func TestValuesThatDoNotBelongTogetherAreDamage(t *testing.T) {
	other, err := newTokenKey()
	require.NoError(t, err)
	key, err := newTokenKey()
	require.NoError(t, err)
	var one, two authority
	require.NoError(t, one.create(time.Now()))
	require.NoError(t, two.create(time.Now()))
	for name, content := range map[string]document{
		"id of another key":            &tokenKeys{Current: tokenKey{ID: other.ID, Seed: key.Seed}},
		"previous key cut":             &tokenKeys{Current: key, Previous: &tokenKey{ID: other.ID, Seed: other.Seed[:8]}},
		"short current secret":         &sharedSecret{Current: "short"},
		"short previous secret":        &sharedSecret{Current: string(make([]byte, sharedBytes)), Previous: "short"},
		"short key version":            &tenantKey{Tenant: "clinic", Versions: [][]byte{make([]byte, 16)}},
		"key of another authority":     &authority{Certificate: one.Certificate, Key: two.Key},
		"authority without a good key": &authority{Certificate: one.Certificate, Key: []byte("key")},
	} {
		require.Error(t, content.check(), name)
	}
}

func TestErrorsShowNoSecret(t *testing.T) {
	keeper := openTemp(t)
	secret, err := keeper.Shared(t.Context(), TURNSecret)
	require.NoError(t, err)
	content := `{"current": 1, "` + string(secret.Current) + `": "` + string(secret.Current) + `"}`
	require.NoError(t, os.WriteFile(keeper.folder.file("shared-turn.json"), []byte(content), fileMode))
	_, err = keeper.Shared(t.Context(), TURNSecret)
	require.Error(t, err)
	require.NotContains(t, err.Error(), string(secret.Current))
}

func TestSeveralKeepersShareAFolder(t *testing.T) {
	first := openTemp(t)
	second, err := OpenLocal(first.folder.path)
	require.NoError(t, err)

	var group sync.WaitGroup
	secrets := make([]Shared, 2)
	failures := make([]error, 2)
	for i, keeper := range []*Local{first, second} {
		group.Go(func() { secrets[i], failures[i] = keeper.Shared(t.Context(), TURNSecret) })
	}
	group.Wait()
	require.NoError(t, errors.Join(failures...))
	require.Equal(t, secrets[0], secrets[1])

	require.NoError(t, second.RotateTokenKey(t.Context()))
	mine, err := first.PublicKeys(t.Context())
	require.NoError(t, err)
	theirs, err := second.PublicKeys(t.Context())
	require.NoError(t, err)
	require.Equal(t, theirs, mine, "a rotation is seen without opening the folder again")
}

func TestSeveralProcessesLoseNoUpdate(t *testing.T) {
	keeper := openTemp(t)
	self, err := os.Executable()
	require.NoError(t, err)
	children := make([]*exec.Cmd, 2)
	for i := range children {
		children[i] = exec.CommandContext(t.Context(), self)
		children[i].Env = append(os.Environ(), helperProcess+"=1")
		children[i].Dir = keeper.folder.path
		children[i].Stderr = new(bytes.Buffer)
		require.NoError(t, children[i].Start())
	}
	require.NoError(t, keeper.CreateTenant(t.Context(), "clinic"))
	for range 20 {
		require.NoError(t, keeper.RotateTenant(t.Context(), "clinic"))
	}
	for _, child := range children {
		require.NoError(t, child.Wait(), "%s", child.Stderr)
	}
	key, err := keeper.tenantKey(t.Context(), "clinic")
	require.NoError(t, err)
	require.Len(t, key.Versions, 1+3*20)
}

func TestWaitingForTheLockEndsWithTheContext(t *testing.T) {
	keeper := openTemp(t)
	require.NoError(t, keeper.folder.update(t.Context(), func() error {
		second, err := OpenLocal(keeper.folder.path)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		err = second.CreateTenant(ctx, "clinic")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "held by another process")
		return nil
	}))
	require.NoError(t, keeper.CreateTenant(t.Context(), "clinic"))
}

func TestCAFileVerifiesIssuedCertificates(t *testing.T) {
	keeper := openTemp(t)
	path, err := keeper.CAFile(t.Context())
	require.NoError(t, err)
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	block, rest := pem.Decode(content)
	require.NotNil(t, block)
	require.Empty(t, rest, "the certificate alone")
	require.Equal(t, "CERTIFICATE", block.Type)

	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(content))
	opened, err := keeper.Certificates(t.Context(), GatewayRole, "localhost", "127.0.0.1", "::1")
	require.NoError(t, err)
	certificate, err := opened.Server().GetCertificate(nil)
	require.NoError(t, err)
	for _, host := range []string{"localhost", "127.0.0.1", "::1", "gateway.wardline.internal"} {
		_, err := certificate.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host})
		require.NoError(t, err, host)
	}

	require.NoError(t, os.Remove(path))
	again, err := keeper.CAFile(t.Context())
	require.NoError(t, err)
	rewritten, err := os.ReadFile(again)
	require.NoError(t, err)
	require.Equal(t, content, rewritten)
}
