package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/edge/client"
	"github.com/wardline/wardline/test/e2e/devtest"
)

// createEncounter makes an encounter as the tenant does.
func (d *dev) createEncounter(body string) {
	d.T.Helper()
	token, errs, exit := devtest.Run(d.T, "token", "api", "--data", d.Data)
	require.Zero(d.T, exit, errs)
	request, err := http.NewRequestWithContext(d.T.Context(), http.MethodPost, d.URL+"/v1/encounters", strings.NewReader(body))
	require.NoError(d.T, err)
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	require.NoError(d.T, err)
	require.NoError(d.T, response.Body.Close())
	require.Equal(d.T, http.StatusCreated, response.StatusCode)
}

// takePart has somebody in a visit until the returned function is called; pictures counts what they receive of others.
func (d *dev) takePart(encounter, role, id string, filler []byte) (pictures *atomic.Int64, leave func()) {
	d.T.Helper()
	pictures = &atomic.Int64{}
	ctx, cancel := context.WithCancel(d.T.Context())
	ended := make(chan error, 1)
	config := client.Config{
		Gateways: []string{d.URL}, Token: d.Token(encounter, role, id), Publish: true, Admit: true, RTT: map[string]float64{},
		Filler: filler,
		Events: func(e client.Event) {
			if e.Kind == client.Stats {
				pictures.Add(int64(e.VideoPackets))
			}
		},
	}
	go func() { ended <- client.Run(ctx, config) }()
	left := false
	leave = func() {
		if left {
			return
		}
		left = true
		cancel()
		require.NoError(d.T, <-ended)
	}
	d.T.Cleanup(leave)
	return pictures, leave
}

// inMemory counts how often bytes are in what a process has in memory: private and writable, as a core file has it.
func inMemory(t *testing.T, pid int, wanted []byte) (found int) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	require.NoError(t, err)
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	require.NoError(t, err)
	defer func() { _ = memory.Close() }()
	total := int64(0)
	for lines := bufio.NewScanner(bytes.NewReader(maps)); lines.Scan(); {
		var from, to int64
		var mode string
		_, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &mode)
		if err != nil || !strings.HasPrefix(mode, "rw") {
			continue
		}
		// Pages that were never touched, or are gone by now, cannot be read and hold nothing.
		content, _ := io.ReadAll(io.NewSectionReader(memory, from, to-from))
		total += int64(len(content))
		found += bytes.Count(content, wanted)
	}
	require.Greater(t, total, int64(8<<20), "of a process that holds calls")
	return found
}

func TestMediaServersCannotReadAnEndToEndEncryptedVisit(t *testing.T) {
	t.Parallel()
	d := startDev(t)
	known := make([]byte, 64)
	_, _ = rand.Read(known)
	for _, c := range []struct {
		encounter string
		e2ee      bool
	}{
		{"sealed", true}, // first: what the other leaves in memory would be found
		{"plain", false},
	} {
		d.createEncounter(fmt.Sprintf(`{"id":%q,"e2ee":%t}`, c.encounter, c.e2ee))
		_, providerLeaves := d.takePart(c.encounter, "provider", "d-1", bytes.Repeat(known, 8))
		pictures, patientLeaves := d.takePart(c.encounter, "patient", "p-1", nil)
		require.Eventually(t, func() bool { return pictures.Load() > 30 }, 30*time.Second, 10*time.Millisecond,
			"%s: pictures do not arrive", c.encounter)
		found := inMemory(t, d.Cmd.Process.Pid, known[:32])
		t.Logf("%s: found %d times", c.encounter, found)
		if c.e2ee {
			require.Zero(t, found, "the media server has seen pictures")
		} else {
			require.NotZero(t, found, "the search finds nothing where there is something")
		}
		patientLeaves()
		providerLeaves()
	}
}
