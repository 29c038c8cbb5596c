package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// API is one Consul or Nomad HTTP API with the token to use it.
type API struct {
	// URL is the base, such as https://10.77.1.10:8501.
	URL string
	// Header and Token authenticate each request.
	Header, Token string
	// Client trusts the world's authority.
	Client *http.Client
}

// StatusError is an answer other than success.
type StatusError struct {
	Code int
	Body string
}

// Error says what the server said.
func (e *StatusError) Error() string { return fmt.Sprintf("status %d: %s", e.Code, e.Body) }

// maxAnswer bounds an answer of a server in bytes.
const maxAnswer = 16 << 20

// Get reads path, such as "/v1/status/leader?dc=east", into out (nil to ignore it).
func (a *API) Get(ctx context.Context, path string, out any) error {
	return a.Do(ctx, http.MethodGet, path, nil, out)
}

// Put writes in (nil for nothing) to path and reads the answer into out (nil to ignore it).
func (a *API) Put(ctx context.Context, path string, in, out any) error {
	return a.Do(ctx, http.MethodPut, path, in, out)
}

// Do sends one request. An answer other than 2xx is a *StatusError.
func (a *API) Do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s %s: encode: %w", method, path, err)
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, a.URL+path, body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if a.Token != "" {
		request.Header.Set(a.Header, a.Token)
	}
	response, err := a.Client.Do(request)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %w", method, path, &StatusError{response.StatusCode, strings.TrimSpace(string(text))})
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("%s %s: decode: %w", method, path, err)
	}
	return nil
}
