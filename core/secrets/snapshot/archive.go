package snapshot

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ErrInvalid says that a file is no whole snapshot of a Vault; the text has what is wrong with it.
var ErrInvalid = errors.New("no snapshot of a Vault")

// Info is what a snapshot says of itself.
type Info struct {
	// Index is the last entry of the raft log that it holds.
	Index uint64
	// Bytes is how long the file is.
	Bytes int64
}

// Files of the archive, in their order: https://github.com/hashicorp/raft-snapshot. Vault adds the last, which only
// the same seal's key opens.
const (
	metaFile   = "meta.json"
	stateFile  = "state.bin"
	sumsFile   = "SHA256SUMS"
	sealedFile = "SHA256SUMS.sealed"

	// maxSmall bounds every file but the storage, in bytes.
	maxSmall = 1 << 20
)

// Check reads a snapshot to its end and compares it with its own checksums. It fails with ErrInvalid, or as r does.
func Check(r io.Reader) (Info, error) {
	counted := &counter{r: r}
	info, err := readArchive(bufio.NewReader(counted))
	info.Bytes = counted.n
	if counted.err != nil {
		return Info{}, counted.err // the disk, not the snapshot
	}
	if err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			err = fmt.Errorf("it ends after %d bytes, in the middle", counted.n)
		}
		return Info{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return info, nil
}

// counter tells failures of a reader from what is wrong with what was read.
type counter struct {
	r   io.Reader
	n   int64
	err error
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

func readArchive(r io.Reader) (Info, error) {
	unzipped, err := gzip.NewReader(r)
	if errors.Is(err, gzip.ErrHeader) {
		return Info{}, errors.New("it is no gzip archive")
	}
	if err != nil {
		return Info{}, err
	}
	var info Info
	var sums, sealed []byte
	found := map[string]string{} // checksums by file
	archive := tar.NewReader(unzipped)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Info{}, err
		}
		sum := sha256.New()
		body := io.TeeReader(archive, sum)
		switch header.Name {
		case metaFile:
			err = readMeta(body, &info)
		case stateFile:
			_, err = io.Copy(io.Discard, body)
		case sumsFile:
			sums, err = readSmall(body, sumsFile)
		case sealedFile:
			sealed, err = readSmall(body, sealedFile)
		default:
			err = fmt.Errorf("it has a file %.40q", header.Name)
		}
		if err != nil {
			return Info{}, err
		}
		if _, twice := found[header.Name]; twice {
			return Info{}, fmt.Errorf("it has %s twice", header.Name)
		}
		found[header.Name] = hex.EncodeToString(sum.Sum(nil))
	}
	// What follows the archive is padding; reading it has gzip compare its own checksum.
	if _, err := io.Copy(io.Discard, unzipped); err != nil { //nolint:gosec // G110: it is kept nowhere
		return Info{}, err
	}
	if len(sealed) == 0 {
		return Info{}, fmt.Errorf("it has no %s: it is another product's, or taking it was cut short", sealedFile)
	}
	return info, compare(sums, found)
}

func readSmall(r io.Reader, name string) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(r, maxSmall+1))
	if len(content) > maxSmall {
		return nil, fmt.Errorf("%s is over %d bytes", name, maxSmall)
	}
	return content, err
}

func readMeta(r io.Reader, info *Info) error {
	content, err := readSmall(r, metaFile)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, info); err != nil {
		return fmt.Errorf("%s is no JSON of a snapshot", metaFile)
	}
	return nil
}

// compare holds the archive to the list of checksums in it: a line a file, "HEX  NAME".
func compare(sums []byte, found map[string]string) error {
	listed := map[string]bool{}
	for line := range strings.Lines(string(sums)) {
		fields := strings.Fields(line)
		if len(fields) != 2 {
			return fmt.Errorf("%s has a line that is not \"CHECKSUM  NAME\"", sumsFile)
		}
		if found[fields[1]] != fields[0] {
			return fmt.Errorf("%.40q is not what its checksum in %s is of", fields[1], sumsFile)
		}
		listed[fields[1]] = true
	}
	for _, name := range []string{metaFile, stateFile} {
		if !listed[name] {
			return fmt.Errorf("%s does not list %s", sumsFile, name)
		}
	}
	return nil
}
