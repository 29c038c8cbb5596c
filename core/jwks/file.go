package jwks

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/signaling"
)

// maxFileBytes bounds what is read as a file of keys.
const maxFileBytes = maxRegions * access.MaxJWKSBytes

// readFile reads the keys of each region; there are none if there is no file.
func readFile(path string) (map[string][]secrets.PublicKey, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return make(map[string][]secrets.PublicKey), nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // nothing was written
	content, err := io.ReadAll(io.LimitReader(file, maxFileBytes))
	if err != nil {
		return nil, err
	}
	held, err := parseFile(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return held, nil
}

func parseFile(content []byte) (map[string][]secrets.PublicKey, error) {
	var documents map[string]json.RawMessage
	if err := json.Unmarshal(content, &documents); err != nil {
		return nil, errors.New("not a JSON object of key sets")
	}
	held := make(map[string][]secrets.PublicKey, len(documents))
	for region, document := range documents {
		if !signaling.ValidID(region) {
			return nil, fmt.Errorf("%.70q: not the name of a region", region)
		}
		keys, err := parse(document)
		if err != nil {
			return nil, fmt.Errorf("region %s: %w", region, err)
		}
		held[region] = keys
	}
	return held, nil
}

func writeFile(path string, held map[string][]secrets.PublicKey) error {
	documents := make(map[string]json.RawMessage, len(held))
	for region, keys := range held {
		document, err := access.JWKS(keys)
		if err != nil {
			return err
		}
		documents[region] = document
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
