// Package web is the browser client: plain ES modules, embedded and served as they are.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"time"
)

//go:embed static
var static embed.FS

// contentTypes lists every kind of file the client has. The system's own table is not asked: it
// differs between machines, and a module with the wrong type does not run.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// asset is one embedded file, ready to be served.
type asset struct {
	body        []byte
	contentType string
	etag        string
}

// Handler serves the landing page at "/", the visit page at "/visit" and the client's files under
// "/assets/", for GET and HEAD only. Everything else is 404. Files carry a strong ETag of their content
// and are revalidated on each use (RFC 9111, no-cache), so that a new version is never mixed with an
// old one. Security headers are left to the server that mounts the handler.
func Handler() http.Handler {
	return handler(load(static))
}

func handler(assets map[string]asset) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		found, ok := assets[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed: use GET or HEAD", http.StatusMethodNotAllowed)
			return
		}
		header := w.Header()
		header.Set("Content-Type", found.contentType)
		header.Set("Etag", found.etag)
		header.Set("Cache-Control", "no-cache")
		header.Set("X-Content-Type-Options", "nosniff")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(found.body))
	})
}

// load maps each URL path to its file. The embedded files are part of the program, so a file of an
// unknown kind is a mistake of the build and stops it at start.
func load(files fs.FS) map[string]asset {
	assets := make(map[string]asset)
	err := fs.WalkDir(files, "static", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		body, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		contentType, ok := contentTypes[path.Ext(name)]
		if !ok {
			return fmt.Errorf("%s: no content type for %q", name, path.Ext(name))
		}
		sum := sha256.Sum256(body)
		assets[urlPath(name)] = asset{
			body:        body,
			contentType: contentType,
			etag:        `"` + hex.EncodeToString(sum[:16]) + `"`,
		}
		return nil
	})
	if err != nil {
		panic("web: embedded files: " + err.Error())
	}
	return assets
}

// urlPath is where an embedded file is served.
func urlPath(name string) string {
	switch name {
	case "static/index.html":
		return "/"
	case "static/visit.html":
		return "/visit"
	default:
		return name[len("static"):]
	}
}
