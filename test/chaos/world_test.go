//go:build linux && !race

package chaos

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/test/e2e/devtest"
	"github.com/wardline/wardline/test/stack/servers"
)

// logsVar is a folder for what servers logged and what happened to people.
const logsVar = "WARDLINE_CHAOS_LOGS"

// world is Consul, three media servers, two gateways and the people who meet there.
type world struct {
	t        *testing.T
	random   *rand.Rand
	data     string
	consul   *process
	sfus     []*process
	gateways []*process
	urls     []string

	mu     sync.Mutex
	people []*person
	joined int
}

func startWorld(t *testing.T, random *rand.Rand) *world {
	t.Helper()
	w := &world{t: t, random: random, data: t.TempDir(), joined: 10}
	w.plan()
	t.Cleanup(w.stop)
	for _, p := range w.servers() {
		require.NoError(t, p.start())
		require.Eventually(t, func() bool { return p.serves(t.Context()) }, 30*time.Second, 50*time.Millisecond, p.name)
	}
	return w
}

// plan says which processes there are.
func (w *world) plan() {
	w.t.Helper()
	consul, err := servers.Have(w.t.Context(), "consul")
	require.NoError(w.t, err)
	ports := devtest.FreePorts(w.t, 14)
	port := func() string {
		next := ports[0]
		ports = ports[1:]
		return fmt.Sprint(next)
	}
	url := "http://127.0.0.1:" + port()
	w.consul = &process{name: "consul", path: consul, ready: url + "/v1/status/leader", args: []string{
		"agent", "-dev", "-bind=127.0.0.1", "-client=127.0.0.1", "-node=here", "-datacenter=east", "-log-level=warn",
		"-http-port=" + url[len("http://127.0.0.1:"):], "-server-port=" + port(), "-serf-lan-port=" + port(), "-serf-wan-port=" + port(),
		"-dns-port=-1", "-grpc-port=-1", "-grpc-tls-port=-1",
	}}
	component := func(kind string, number int, args ...string) *process {
		id, admin := fmt.Sprintf("%s-%d", kind, number), "127.0.0.1:"+port()
		common := []string{kind, "--id", id, "--admin", admin, "--data", w.data, "--consul", url, "--log-level", "debug"}
		return &process{name: id, path: devtest.Binary, ready: "http://" + admin + "/ready", args: append(common, args...)}
	}
	for number := range 3 {
		w.sfus = append(w.sfus, component("sfu", number+1, "--media", "127.0.0.1:"+port(), "--drain-timeout", drainTimeout.String()))
	}
	for number := range 2 {
		address := "127.0.0.1:" + port()
		w.gateways = append(w.gateways, component("gateway", number+1, "--http", address, "--plain-http"))
		w.urls = append(w.urls, "http://"+address)
	}
}

func (w *world) servers() []*process {
	return slices.Concat([]*process{w.consul}, w.sfus, w.gateways)
}

// stop ends people, then servers, Consul last.
func (w *world) stop() {
	for _, p := range w.people {
		p.leave()
		<-p.ended
	}
	for _, p := range slices.Backward(w.servers()) {
		if p.cmd == nil {
			continue
		}
		if err := p.end(syscall.SIGTERM, drainTimeout+stopWithin); err != nil {
			w.t.Error(err)
		}
	}
	folder := os.Getenv(logsVar)
	if folder == "" {
		return
	}
	require.NoError(w.t, os.MkdirAll(folder, 0o755))
	for _, p := range w.servers() {
		require.NoError(w.t, os.WriteFile(filepath.Join(folder, p.name+".log"), []byte(p.log.String()), 0o644))
	}
	for _, p := range w.people {
		require.NoError(w.t, os.WriteFile(filepath.Join(folder, p.id+".txt"), []byte(p.history()), 0o644))
	}
}

// join has one more take part: number 0 of a visit is its provider, who lets the others in.
func (w *world) join(visit, number int) {
	w.mu.Lock()
	full := len(w.people) == mostPeople
	w.mu.Unlock()
	if full {
		return
	}
	name, role := fmt.Sprintf("visit-%d", visit), "patient"
	if number == 0 {
		role = "provider"
	}
	id := fmt.Sprintf("%s-%s-%d", name, role, number)
	token, said, exit := devtest.Run(w.t, "token", "--data", w.data, "--encounter", name, "--role", role, "--participant", id)
	if exit != 0 {
		w.t.Errorf("token: %s", said)
		return
	}
	w.add(&person{id: id, visit: name, token: token})
}

// add lets somebody in, at any of the gateways first.
func (w *world) add(p *person) {
	w.mu.Lock()
	defer w.mu.Unlock()
	urls := slices.Clone(w.urls)
	w.random.Shuffle(len(urls), func(i, j int) { urls[i], urls[j] = urls[j], urls[i] })
	p.attend(urls)
	w.people = append(w.people, p)
}

// comeBack has somebody leave and join again.
func (w *world) comeBack(p *person) {
	w.mu.Lock()
	w.people = slices.DeleteFunc(w.people, func(each *person) bool { return each == p })
	w.mu.Unlock()
	p.leave()
	<-p.ended
	w.add(&person{id: p.id, visit: p.visit, token: p.token})
}

// next is a number that nobody has.
func (w *world) next() int {
	w.joined++
	return w.joined
}

// anybody is one of those who are there.
func (w *world) anybody() *person {
	w.mu.Lock()
	defer w.mu.Unlock()
	return one(w, w.people)
}

// sfuOf is the media server that somebody is on.
func (w *world) sfuOf(p *person) *process {
	placed := p.placed()
	return w.sfus[max(0, slices.IndexFunc(w.sfus, func(each *process) bool { return each.name == placed }))]
}

// between is a random time.
func (w *world) between(least, most time.Duration) time.Duration {
	return least + time.Duration(w.random.Int64N(int64(most-least)))
}

func one[T any](w *world, of []T) T { return of[w.random.IntN(len(of))] }

// missing is what people do not get of others.
func (w *world) missing() (missing []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	visits := map[string][]*person{}
	for _, p := range w.people {
		visits[p.visit] = append(visits[p.visit], p)
	}
	now := time.Now()
	for _, p := range w.people {
		missing = append(missing, p.misses(visits[p.visit], now)...)
	}
	return missing
}

// longestGap is the longest time that somebody did not hear another's voice, without what a busy machine took.
func (w *world) longestGap(since time.Time) (longest time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.people {
		longest = max(longest, p.longestGap(since))
	}
	return longest.Round(time.Millisecond)
}
