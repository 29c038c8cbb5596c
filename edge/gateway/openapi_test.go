package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/edge/gateway/openapitest"
)

func TestPublicRoutesAreAsDescribed(t *testing.T) {
	w := newWorld(t)
	g := w.gateway("gw-1")
	target, err := url.Parse("http://" + g.Addr().String())
	require.NoError(t, err)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = transport
	_, err = w.keeper.Sign(t.Context(), func(string) ([]byte, error) { return []byte("x"), nil })
	require.NoError(t, err, "so that there is a key to publish")

	spec := openapitest.Load(t)
	for _, path := range []string{"/.well-known/jwks.json", "/v1/regions"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody)
		response := spec.Serve(t, proxy, r)
		require.Equal(t, http.StatusOK, response.StatusCode, path)
		require.Equal(t, "nosniff", response.Header.Get("X-Content-Type-Options"), path)
	}
	for _, path := range []string{"/.well-known/jwks.json", "/v1/regions", "/v1/signal"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodDelete, path, http.NoBody)
		recorder := httptest.NewRecorder()
		proxy.ServeHTTP(recorder, r)
		require.Equal(t, http.StatusMethodNotAllowed, recorder.Code, path)
		require.Equal(t, "application/problem+json", recorder.Header().Get("Content-Type"), path)
		require.Equal(t, "GET, HEAD", recorder.Header().Get("Allow"), path)
		require.Contains(t, recorder.Body.String(), `"code":"method-not-allowed"`, path)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/v1/encounters/none", http.NoBody)
	require.Equal(t, http.StatusUnauthorized, spec.Serve(t, proxy, r).StatusCode)
}
