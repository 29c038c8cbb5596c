package web

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func ask(t *testing.T, method, target string, header http.Header) *httptest.ResponseRecorder {
	t.Helper()
	request := httptest.NewRequest(method, target, http.NoBody)
	for name, values := range header {
		request.Header[name] = values
	}
	response := httptest.NewRecorder()
	Handler().ServeHTTP(response, request)
	return response
}

func TestFilesComeWithTheirType(t *testing.T) {
	for target, want := range map[string]string{
		"/":                     "text/html; charset=utf-8",
		"/visit":                "text/html; charset=utf-8",
		"/visit?ice=relay":      "text/html; charset=utf-8",
		"/assets/js/main.js":    "text/javascript; charset=utf-8",
		"/assets/css/base.css":  "text/css; charset=utf-8",
		"/assets/favicon.svg":   "image/svg+xml",
		"/assets/js/../main.js": "",
	} {
		response := ask(t, http.MethodGet, target, nil)
		if want == "" {
			require.Equal(t, http.StatusNotFound, response.Code, target)
			continue
		}
		require.Equal(t, http.StatusOK, response.Code, target)
		require.Equal(t, want, response.Header().Get("Content-Type"), target)
		require.Equal(t, "nosniff", response.Header().Get("X-Content-Type-Options"), target)
		require.NotEmpty(t, response.Body.String(), target)
	}
}

func TestNothingElseIsServed(t *testing.T) {
	for _, target := range []string{
		"/visit/", "/index.html", "/visit.html", "/assets", "/assets/", "/assets/js/", "/static/visit.html",
		"/web.go", "/assets/../web.go", "/assets/%2e%2e/web.go", "/..%2fweb.go", "//visit", "/test/token.test.mjs",
		"/assets/js/main.js/", "/favicon.ico",
	} {
		require.Equal(t, http.StatusNotFound, ask(t, http.MethodGet, target, nil).Code, target)
	}
}

func TestOnlyReadingMethods(t *testing.T) {
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodOptions} {
		response := ask(t, method, "/visit", nil)
		require.Equal(t, http.StatusMethodNotAllowed, response.Code, method)
		require.Equal(t, "GET, HEAD", response.Header().Get("Allow"), method)
	}
	response := ask(t, http.MethodHead, "/visit", nil)
	require.Equal(t, http.StatusOK, response.Code)
	require.Empty(t, response.Body.String())
	require.NotEqual(t, "0", response.Header().Get("Content-Length"))
}

func TestUnchangedFilesAreNotSentAgain(t *testing.T) {
	first := ask(t, http.MethodGet, "/assets/js/main.js", nil)
	etag := first.Header().Get("Etag")
	require.Regexp(t, `^"[0-9a-f]{32}"$`, etag)
	require.Equal(t, "no-cache", first.Header().Get("Cache-Control"))

	again := ask(t, http.MethodGet, "/assets/js/main.js", http.Header{"If-None-Match": {etag}})
	require.Equal(t, http.StatusNotModified, again.Code)
	require.Empty(t, again.Body.String())

	other := ask(t, http.MethodGet, "/assets/js/visit.js", http.Header{"If-None-Match": {etag}})
	require.Equal(t, http.StatusOK, other.Code)
}

func TestAFileOfUnknownKindStopsTheStart(t *testing.T) {
	require.PanicsWithValue(t, `web: embedded files: static/a.exe: no content type for ".exe"`, func() {
		load(fstest.MapFS{"static/a.exe": {Data: []byte("x")}})
	})
}

// source is an embedded file of the client.
type source struct{ name, text string }

func sources(t *testing.T, extension string) []source {
	t.Helper()
	var found []source
	require.NoError(t, fs.WalkDir(static, "static", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path.Ext(name) != extension {
			return err
		}
		body, err := fs.ReadFile(static, name)
		found = append(found, source{name, string(body)})
		return err
	}))
	require.NotEmpty(t, found, extension)
	return found
}

var importPath = regexp.MustCompile(`(?:from|import)\s*\(?\s*'([^']+\.js)'`)

func TestEveryImportExists(t *testing.T) {
	checked := 0
	for _, file := range sources(t, ".js") {
		for _, found := range importPath.FindAllStringSubmatch(file.text, -1) {
			require.True(t, strings.HasPrefix(found[1], "./"), "%s imports %s", file.name, found[1])
			_, err := fs.Stat(static, path.Join(path.Dir(file.name), found[1]))
			require.NoError(t, err, "%s imports %s", file.name, found[1])
			checked++
		}
	}
	require.Greater(t, checked, 20)
}

var (
	linkedFile  = regexp.MustCompile(`(?:src|href)="([^"]*)"`)
	inlineCode  = regexp.MustCompile(`(?i)<script(?:[^>]*)>\s*[^<\s]|<style|\sstyle=|\son[a-z]+=|javascript:`)
	externalURL = regexp.MustCompile(`(?i)(?:https?:)?//[a-z0-9-]+\.[a-z]`)
)

func TestPagesFitAStrictContentSecurityPolicy(t *testing.T) {
	for _, file := range sources(t, ".html") {
		require.Empty(t, inlineCode.FindString(file.text), file.name)
		for _, found := range linkedFile.FindAllStringSubmatch(file.text, -1) {
			require.Equal(t, http.StatusOK, ask(t, http.MethodGet, found[1], nil).Code, "%s names %s", file.name, found[1])
		}
	}
	for _, file := range sources(t, ".js") {
		for _, forbidden := range []string{
			"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function",
			"localStorage", "indexedDB", "document.cookie",
		} {
			require.NotContains(t, file.text, forbidden, file.name)
		}
		require.NotRegexp(t, `setAttribute\('style'|style:`, file.text, file.name)
	}
}

// names that look like addresses and are none: a namespace and a claim are compared, never fetched.
var identifiers = strings.NewReplacer(
	"http://www.w3.org/2000/svg", "",
	"https://wardline.health/claims/visit", "",
)

func TestNothingIsFetchedFromElsewhere(t *testing.T) {
	for _, extension := range []string{".html", ".css", ".js", ".svg"} {
		for _, file := range sources(t, extension) {
			require.Empty(t, externalURL.FindString(identifiers.Replace(file.text)), file.name)
			require.NotRegexp(t, `url\((?:"|')?(?:data:|//|http)|@import`, file.text, file.name)
		}
	}
}

func TestModulesStaySmall(t *testing.T) {
	for _, file := range sources(t, ".js") {
		require.Less(t, strings.Count(file.text, "\n"), 300, file.name)
	}
}
