//go:build linux

package stack

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/test/stack/plan"
)

func TestAPI(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("X-Consul-Token") != "token":
			http.Error(rw, "no", http.StatusForbidden)
		case r.Method == http.MethodPut:
			_, _ = rw.Write([]byte(`{"ID":"` + r.URL.Query().Get("id") + `"}`))
		default:
			_, _ = rw.Write([]byte("not JSON"))
		}
	}))
	t.Cleanup(server.Close)
	api := &API{URL: server.URL, Header: "X-Consul-Token", Token: "token", Client: server.Client()}
	var answer struct{ ID string }
	require.NoError(t, api.Put(t.Context(), "/v1/thing?id=7", map[string]int{"a": 1}, &answer))
	require.Equal(t, "7", answer.ID)
	require.NoError(t, api.Get(t.Context(), "/v1/thing", nil))
	require.ErrorContains(t, api.Get(t.Context(), "/v1/thing", &answer), "decode")
	require.Error(t, api.Put(t.Context(), "/v1/thing", make(chan int), nil))

	api.Token = "other"
	var status *StatusError
	require.ErrorAs(t, api.Get(t.Context(), "/v1/thing", nil), &status)
	require.Equal(t, StatusError{403, "no"}, *status)
}

func TestWaitingEndsWithTheConditionTheWorldOrTheContext(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	p := &progress{out: &out, start: time.Now()}
	alive := func() error { return nil }
	looks := 0
	require.NoError(t, p.wait(t.Context(), "third look", alive, func(context.Context) error {
		looks++
		if looks < 3 {
			return errNotYet
		}
		return nil
	}))
	require.Contains(t, out.String(), "third look")

	dead := errors.New("consul ended")
	never := func(context.Context) error { return errNotYet }
	require.ErrorIs(t, p.wait(t.Context(), "never", func() error { return dead }, never), dead)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := p.wait(ctx, "never", alive, never)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, errNotYet, "the last look says why")
}

func TestAProcessThatOnlyWaitsToBeReapedIsGone(t *testing.T) {
	t.Parallel()
	require.True(t, Alive(os.Getpid()))
	child := exec.Command("true")
	require.NoError(t, child.Start())
	require.Eventually(t, func() bool { return !Alive(child.Process.Pid) }, 10*time.Second, time.Millisecond)
	require.NoError(t, child.Wait())
}

func TestAFolderKnowsWhetherItsWorldRuns(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv("XDG_RUNTIME_DIR", "")
	dir, err := claim("")
	require.NoError(t, err)
	require.Equal(t, os.Getpid(), Owner(dir))
	_, err = claim(dir)
	require.ErrorIs(t, err, os.ErrExist)

	require.Equal(t, 0, Owner(t.TempDir()))
	crashed, err := claim(DefaultDir())
	require.NoError(t, err)
	owner := filepath.Join(crashed, ownerFile)
	require.NoError(t, os.WriteFile(owner, []byte("1 1\n"), 0o600), "process 1 began at another time")
	require.Equal(t, 0, Owner(crashed))
	foreign := filepath.Join(temp, dirPrefix+"of-somebody-else")
	require.NoError(t, os.Mkdir(foreign, 0o700))

	var out strings.Builder
	Clean(&out)
	require.Contains(t, out.String(), crashed)
	require.NoDirExists(t, crashed)
	require.DirExists(t, dir, "its process runs")
	require.DirExists(t, foreign, "no world's folder")
	require.NoError(t, os.RemoveAll(dir))
}

func TestVerbsAreCheckedBeforeAnythingHappens(t *testing.T) {
	t.Parallel()
	p, err := plan.New(77, []string{"east"}, plan.Standard())
	require.NoError(t, err)
	w := &World{plan: p}
	for _, args := range [][]string{
		nil, {"kill", "east-media-1"}, {"cut"}, {"heal", "a", "b", "c"}, {"cut", "north"}, {"poweroff", "x", "y"},
	} {
		name := ""
		if len(args) > 0 {
			name, args = args[0], args[1:]
		}
		require.ErrorIs(t, w.Perform(t.Context(), name, args), plan.ErrInvalid)
	}
	require.Len(t, Verbs(), 11)
	require.Equal(t, pairOf("b", "a"), pairOf("a", "b"))
}

func TestAWorldThatCannotBeIsNotStarted(t *testing.T) {
	t.Parallel()
	_, err := Start(t.Context(), Options{Regions: []string{"East"}})
	require.ErrorIs(t, err, plan.ErrInvalid)
}
