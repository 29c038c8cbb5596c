// Package openapitest holds handlers to what docs/openapi.yaml says about them.
package openapitest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/stretchr/testify/require"
)

// Spec is the parsed description.
type Spec struct {
	document *openapi3.T
	router   routers.Router
}

// Load reads docs/openapi.yaml and checks that it is a valid description.
func Load(tb testing.TB) *Spec {
	tb.Helper()
	spec, err := load()
	require.NoError(tb, err)
	return spec
}

// load does so once for all tests of a package.
var load = sync.OnceValues(func() (*Spec, error) {
	for _, mediaType := range []string{"application/sdp", "application/trickle-ice-sdpfrag"} {
		openapi3filter.RegisterBodyDecoder(mediaType, openapi3filter.PlainBodyDecoder)
	}
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		return nil, errors.New("no source path to find docs/openapi.yaml from")
	}
	path := filepath.Join(filepath.Dir(file), "..", "..", "..", "docs", "openapi.yaml")
	document, err := openapi3.NewLoader().LoadFromFile(path)
	if err != nil {
		return nil, err
	}
	if err := document.Validate(context.Background()); err != nil {
		return nil, err
	}
	router, err := gorillamux.NewRouter(document)
	return &Spec{document: document, router: router}, err
})

// Serve lets handler answer r and fails the test if the response is not as described, or if the request
// was taken although it is not as described.
func (s *Spec) Serve(tb testing.TB, handler http.Handler, r *http.Request) *http.Response {
	tb.Helper()
	var sent []byte
	if r.Body != nil {
		var err error
		sent, err = io.ReadAll(r.Body)
		require.NoError(tb, err)
		r.Body = io.NopCloser(bytes.NewReader(sent))
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, r)
	response := recorder.Result()

	route, params, err := s.router.FindRoute(r)
	if err != nil {
		require.GreaterOrEqual(tb, recorder.Code, http.StatusBadRequest, "%s %s was taken, but is not described", r.Method, r.URL.Path)
		return response
	}
	asked := r.Clone(r.Context())
	asked.Body = io.NopCloser(bytes.NewReader(sent))
	input := &openapi3filter.RequestValidationInput{
		Request: asked, PathParams: params, Route: route,
		Options: &openapi3filter.Options{
			AuthenticationFunc:    func(context.Context, *openapi3filter.AuthenticationInput) error { return nil },
			IncludeResponseStatus: true,
		},
	}
	if recorder.Code < http.StatusBadRequest {
		require.NoError(tb, openapi3filter.ValidateRequest(r.Context(), input), "the request was taken, but is not as described")
	}
	err = openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: recorder.Code, Header: response.Header,
		Body: io.NopCloser(bytes.NewReader(recorder.Body.Bytes())), Options: input.Options,
	})
	require.NoError(tb, err, "%s %s: %d %s", r.Method, r.URL.Path, recorder.Code, recorder.Body)
	return response
}

// Routes records the patterns a handler registers.
type Routes struct{ patterns map[string]http.Handler }

// Handle implements the handlers' Mux.
func (r *Routes) Handle(pattern string, handler http.Handler) {
	if r.patterns == nil {
		r.patterns = make(map[string]http.Handler)
	}
	r.patterns[pattern] = handler
}

var parameter = regexp.MustCompile(`\{[^}]+\}`)

// Described fails the test unless the description has exactly the handler's routes among the paths
// that start with one of prefixes, each with exactly the methods the handler allows.
func (s *Spec) Described(tb testing.TB, routes *Routes, prefixes ...string) {
	tb.Helper()
	served := make(map[string][]string)
	for pattern, handler := range routes.patterns {
		recorder := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(tb.Context(), "BREW", parameter.ReplaceAllString(pattern, "x"), http.NoBody)
		handler.ServeHTTP(recorder, r)
		require.Equal(tb, http.StatusMethodNotAllowed, recorder.Code, pattern)
		served[pattern] = strings.Split(recorder.Header().Get("Allow"), ", ")
	}
	described := 0
	for path, item := range s.document.Paths.Map() {
		if !startsWithAny(path, prefixes) {
			continue
		}
		described++
		methods := make([]string, 0, len(item.Operations()))
		for method := range item.Operations() {
			methods = append(methods, method)
		}
		require.ElementsMatch(tb, served[path], methods, path)
	}
	require.Equal(tb, len(served), described, "every route is to be described")
}

func startsWithAny(path string, prefixes []string) bool {
	for _, prefix := range prefixes {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}
