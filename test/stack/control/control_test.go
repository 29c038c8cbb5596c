package control_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/test/stack/control"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestVerbsReachTheWorldAndItsAnswerComesBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- control.Serve(ctx, dir, func() {}, func(_ context.Context, r control.Request) (string, error) {
			if r.Verb == "cut" {
				return "", errors.New("no such node")
			}
			return r.Verb + " " + strings.Join(r.Args, ","), nil
		})
	}()
	require.Eventually(t, func() bool {
		text, err := control.Ask(t.Context(), dir, control.Request{Verb: "kill", Args: []string{"east-media-1", "sfu"}})
		return err == nil && text == "kill east-media-1,sfu"
	}, 10*time.Second, 10*time.Millisecond)

	_, err := control.Ask(t.Context(), dir, control.Request{Verb: "cut"})
	require.ErrorIs(t, err, control.ErrRefused)
	require.ErrorContains(t, err, "no such node")

	cancel()
	require.NoError(t, <-served)
	_, err = control.Ask(t.Context(), dir, control.Request{Verb: "kill"})
	require.Error(t, err)
	require.NotErrorIs(t, err, control.ErrRefused, "nobody is there to refuse")
}
