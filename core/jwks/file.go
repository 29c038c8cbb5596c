package jwks

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/signaling"
)

// maxFileBytes bounds what is read as a file of keys.
const maxFileBytes = maxRegions * access.MaxJWKSBytes

// readFile reads the keys of each region, and since when those that have left are unlisted; there are none if there is no file.
func readFile(path string) (held map[string][]secrets.PublicKey, unlisted map[string]time.Time, err error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return make(map[string][]secrets.PublicKey), make(map[string]time.Time), nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer file.Close() //nolint:errcheck // nothing was written
	content, err := io.ReadAll(io.LimitReader(file, maxFileBytes))
	if err != nil {
		return nil, nil, err
	}
	held, unlisted, err = parseFile(content)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return held, unlisted, nil
}

// kept is a region's key set with, in Unix seconds, since when the region is federated no more, 0 if it is.
type kept struct {
	Keys     json.RawMessage `json:"keys"`
	Unlisted int64           `json:"unlisted,omitempty"`
}

func parseFile(content []byte) (held map[string][]secrets.PublicKey, unlisted map[string]time.Time, err error) {
	var documents map[string]json.RawMessage
	if err := json.Unmarshal(content, &documents); err != nil {
		return nil, nil, errors.New("not a JSON object of key sets")
	}
	held, unlisted = make(map[string][]secrets.PublicKey, len(documents)), make(map[string]time.Time)
	for region, document := range documents {
		if !signaling.ValidID(region) {
			return nil, nil, fmt.Errorf("%.70q: not the name of a region", region)
		}
		keys, err := parse(document)
		if err != nil {
			return nil, nil, fmt.Errorf("region %s: %w", region, err)
		}
		held[region] = keys
		var found kept
		if json.Unmarshal(document, &found) == nil && found.Unlisted > 0 {
			unlisted[region] = time.Unix(found.Unlisted, 0)
		}
	}
	return held, unlisted, nil
}

func writeFile(path string, held map[string][]secrets.PublicKey, unlisted map[string]time.Time) error {
	documents := make(map[string]kept, len(held))
	for region, keys := range held {
		document, err := access.JWKS(keys)
		if err != nil {
			return err
		}
		var one kept
		if err := json.Unmarshal(document, &one); err != nil {
			return err
		}
		if since, left := unlisted[region]; left {
			one.Unlisted = since.Unix()
		}
		documents[region] = one
	}
	content, err := json.Marshal(documents)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return renameio.WriteFile(path, content, 0o600)
}
