// Package control carries a person's verbs to a running world over a Unix socket in the world's folder.
package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"
)

// socketFile is the socket's name inside a world's folder.
const socketFile = "control.sock"

// maxMessage bounds a request and an answer in bytes.
const maxMessage = 1 << 20

// Request is a verb and what it is about.
type Request struct {
	Verb string   `json:"verb"`
	Args []string `json:"args"`
}

// ErrRefused says that the world did not do as asked; the text says why.
var ErrRefused = errors.New("refused")

// Serve answers requests until ctx ends, and calls listening once they can come. do returns the text to show.
func Serve(ctx context.Context, dir string, listening func(), do func(context.Context, Request) (string, error)) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", filepath.Join(dir, socketFile))
	if err != nil {
		return fmt.Errorf("listen for verbs: %w", err)
	}
	listening()
	server := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			var request Request
			if err := json.NewDecoder(http.MaxBytesReader(rw, r.Body, maxMessage)).Decode(&request); err != nil {
				http.Error(rw, err.Error(), http.StatusBadRequest)
				return
			}
			text, err := do(r.Context(), request)
			if err != nil {
				http.Error(rw, err.Error(), http.StatusConflict)
				return
			}
			_, _ = io.WriteString(rw, text)
		}),
	}
	stopped := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_ = server.Shutdown(grace)
	})
	defer stopped()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve verbs: %w", err)
	}
	return nil
}

// Ask sends one request to the world in dir and returns its answer.
func Ask(ctx context.Context, dir string, request Request) (string, error) {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, socketFile))
	}}
	defer transport.CloseIdleConnections()
	body, err := json.Marshal(request)
	if err != nil {
		return "", fmt.Errorf("%s: %w", request.Verb, err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://world/", bytes.NewReader(body))
	if err != nil {
		return "", fmt.Errorf("%s: %w", request.Verb, err)
	}
	response, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		return "", fmt.Errorf("%s: %w", request.Verb, err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxMessage))
	if err != nil {
		return "", fmt.Errorf("%s: %w", request.Verb, err)
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %w: %s", request.Verb, ErrRefused, strings.TrimSpace(string(text)))
	}
	return string(text), nil
}
