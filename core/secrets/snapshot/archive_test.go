package snapshot_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/core/secrets/snapshot"
)

func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "4") // they wait for servers most of the time
	goleak.VerifyTestMain(m)
}

type entry struct{ name, content string }

// whole are the files of a snapshot as Vault writes them.
func whole() []entry {
	meta, state := `{"Version":1,"ID":"bolt-snapshot","Index":1042,"Term":3}`, strings.Repeat("sealed storage ", 1000)
	return []entry{
		{"meta.json", meta},
		{"state.bin", state},
		{"SHA256SUMS", fmt.Sprintf("%x  meta.json\n%x  state.bin\n", sha256.Sum256([]byte(meta)), sha256.Sum256([]byte(state)))},
		{"SHA256SUMS.sealed", "opens with the seal's key"},
	}
}

func pack(tb testing.TB, entries []entry) []byte {
	tb.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	archive := tar.NewWriter(zipped)
	for _, e := range entries {
		require.NoError(tb, archive.WriteHeader(&tar.Header{Name: e.name, Mode: 0o600, Size: int64(len(e.content))}))
		_, err := io.WriteString(archive, e.content)
		require.NoError(tb, err)
	}
	require.NoError(tb, archive.Close())
	require.NoError(tb, zipped.Close())
	return out.Bytes()
}

func TestWholeSnapshotSaysWhatItHolds(t *testing.T) {
	text := pack(t, whole())
	info, err := snapshot.Check(bytes.NewReader(text))
	require.NoError(t, err)
	require.Equal(t, snapshot.Info{Index: 1042, Bytes: int64(len(text))}, info)
}

func TestFilesThatAreNoSnapshot(t *testing.T) {
	without := func(name string) []byte {
		var left []entry
		for _, e := range whole() {
			if e.name != name {
				left = append(left, e)
			}
		}
		return pack(t, left)
	}
	with := func(name, content string) []byte {
		changed := whole()
		for i := range changed {
			if changed[i].name == name {
				changed[i].content = content
			}
		}
		return pack(t, changed)
	}
	good := pack(t, whole())
	flipped := bytes.Clone(good)
	flipped[len(flipped)-6] ^= 1 // in gzip's checksum, where tar has long ended
	for name, test := range map[string]struct {
		text []byte
		says string
	}{
		"empty":                    {nil, "it ends after 0 bytes"},
		"something else":           {[]byte("-----BEGIN CERTIFICATE-----"), "no gzip archive"},
		"a zipped text":            {zip(t, "only text"), "ends after"},
		"of Consul":                {without("SHA256SUMS.sealed"), "another product's"},
		"not sealed":               {with("SHA256SUMS.sealed", ""), "another product's"},
		"no checksums":             {without("SHA256SUMS"), "does not list meta.json"},
		"checksums of one only":    {with("SHA256SUMS", strings.SplitAfter(whole()[2].content, "\n")[0]), "does not list state.bin"},
		"a checksum without name":  {with("SHA256SUMS", "abc\n"), "not \"CHECKSUM  NAME\""},
		"other storage":            {with("state.bin", "other"), `"state.bin" is not what its checksum`},
		"other description":        {with("meta.json", `{"Index":1}`), `"meta.json" is not what its checksum`},
		"no description":           {with("meta.json", "no JSON"), "meta.json is no JSON"},
		"no storage":               {without("state.bin"), `"state.bin" is not what`},
		"another file":             {pack(t, append(whole(), entry{"extra", ""})), `a file "extra"`},
		"storage twice":            {pack(t, append(whole(), whole()[1])), "state.bin twice"},
		"too long a description":   {with("meta.json", strings.Repeat(" ", 1<<20+1)), "over 1048576 bytes"},
		"damaged at the very end":  {flipped, "checksum"},
		"something behind":         {append(bytes.Clone(good), "more than zeros"...), "no snapshot"},
		"cut after the first half": {good[:len(good)/2], "in the middle"},
		"cut before the last byte": {good[:len(good)-1], fmt.Sprintf("ends after %d bytes", len(good)-1)},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := snapshot.Check(bytes.NewReader(test.text))
			require.ErrorIs(t, err, snapshot.ErrInvalid)
			require.ErrorContains(t, err, test.says)
			require.NotContains(t, err.Error(), "\n")
		})
	}
}

func zip(t *testing.T, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := io.WriteString(w, text)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes()
}

func TestEveryCutIsNoticed(t *testing.T) {
	good := pack(t, whole())
	for length := range good {
		_, err := snapshot.Check(bytes.NewReader(good[:length]))
		require.ErrorIs(t, err, snapshot.ErrInvalid, "%d of %d bytes", length, len(good))
	}
}

func TestFailingDiskIsNoBadSnapshot(t *testing.T) {
	broken := errors.New("input/output error")
	good := pack(t, whole())
	_, err := snapshot.Check(io.MultiReader(bytes.NewReader(good[:50]), iotest.ErrReader(broken)))
	require.ErrorIs(t, err, broken)
	require.NotErrorIs(t, err, snapshot.ErrInvalid)
	_, err = snapshot.CheckFile(filepath.Join(t.TempDir(), "none.snap"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func FuzzCheck(f *testing.F) {
	f.Add(pack(f, whole()))
	f.Add(pack(f, whole()[:3]))
	f.Add([]byte{0x1f, 0x8b})
	f.Fuzz(func(t *testing.T, text []byte) {
		info, err := snapshot.Check(bytes.NewReader(text))
		if err == nil && info.Bytes != int64(len(text)) {
			t.Fatalf("%d of %d bytes were looked at", info.Bytes, len(text))
		}
	})
}

func TestPruneKeepsTheNewest(t *testing.T) {
	dir := t.TempDir()
	at := time.Date(2026, 1, 30, 23, 0, 0, 0, time.FixedZone("", 3600))
	var names []string
	for day := range 5 {
		name := snapshot.FileName(at.AddDate(0, 0, day))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
		names = append(names, name)
	}
	require.Equal(t, "vault-20260130T220000Z.snap", names[0])
	for _, others := range []string{"vault-keep.snap", "notes.txt", ".vault-20260101T000000Z.snap123"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, others), nil, 0o600))
	}
	removed, err := snapshot.Prune(dir, 3, at.AddDate(0, 0, 5))
	require.NoError(t, err)
	require.Equal(t, names[:2], removed)
	removed, err = snapshot.Prune(dir, 3, at.AddDate(0, 0, 5))
	require.NoError(t, err)
	require.Empty(t, removed)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 6)
	_, err = snapshot.Prune(filepath.Join(dir, "nowhere"), 3, at)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestPruneKeepsWhatIsTakenAfterAClockWasAhead(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 1, 30, 12, 0, 0, 0, time.UTC)
	var names []string
	for _, at := range []time.Time{
		now.AddDate(10, 0, 0), now.AddDate(10, 0, 1), now.AddDate(0, 0, -1), now, now.Add(time.Minute), // by the order to go in
	} {
		names = append(names, snapshot.FileName(at))
		require.NoError(t, os.WriteFile(filepath.Join(dir, names[len(names)-1]), nil, 0o600))
	}
	for keep := 4; keep > 0; keep-- {
		removed, err := snapshot.Prune(dir, keep, now)
		require.NoError(t, err)
		require.Equal(t, names[4-keep:5-keep], removed)
	}
}
