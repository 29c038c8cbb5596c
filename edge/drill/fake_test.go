package drill_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/wardline/wardline/edge/drill"
	"github.com/wardline/wardline/edge/drill/scenario"
)

// fake is a cluster with its visits, clients and injector, all in this process.
type fake struct {
	mu      sync.Mutex
	clients map[string]*fakeClient // by participant
	done    []string               // what was asked for, in order
	sick    error                  // what Healthy says
	// breaks is what the injector does; it may be nil.
	breaks func(scenario.Action) error
	heals  func(scenario.Action) error
	// refuse is what Create, start and end say.
	refuse, start, end error
	// quiet clients join and say nothing.
	quiet bool
}

func newFake() *fake { return &fake{clients: map[string]*fakeClient{}} }

func (f *fake) runner() *drill.Runner {
	return &drill.Runner{Injectors: []drill.Injector{f}, Cluster: f, Visits: f, Clients: f}
}

func (f *fake) log(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done = append(f.done, fmt.Sprintf(format, args...))
}

func (f *fake) asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string{}, f.done...)
}

func (f *fake) client(name string) *fakeClient {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.clients[name]
}

func (f *fake) Healthy(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sick
}

func (f *fake) setSick(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sick = err
}

func (f *fake) Servers(context.Context) ([]drill.Server, error) {
	return []drill.Server{
		{Kind: "gateway", ID: "west-gateway-1", Node: "west-gateway-1", Region: "west", URL: "https://west"},
		{Kind: "gateway", ID: "east-gateway-1", Node: "east-gateway-1", Region: "east", URL: "https://east"},
		{Kind: "sfu", ID: "east-media-1", Node: "east-media-1", Region: "east"},
		{Kind: "relay", ID: "east-relay-1", Node: "east-relay-1", Region: "east", Addresses: []string{"192.0.2.4"}},
	}, nil
}

func (f *fake) Create(_ context.Context, gateways []string, visit scenario.Visit) (drill.Created, error) {
	if f.refuse != nil {
		return drill.Created{}, f.refuse
	}
	f.log("create %s at %s", visit.Name, gateways[0])
	created := drill.Created{ID: "id-" + visit.Name, Tokens: map[string]string{}}
	for _, p := range visit.Participants {
		created.Tokens[p.Name] = "token-" + p.Name
	}
	return created, nil
}

func (f *fake) End(_ context.Context, _ []string, id string) error {
	f.log("end %s", id)
	return f.end
}

func (f *fake) Can(verb scenario.Verb) bool { return verb.Place == scenario.World }

func (f *fake) Inject(_ context.Context, a scenario.Action) (func(context.Context) error, error) {
	f.log("inject %s", a)
	if f.breaks != nil {
		if err := f.breaks(a); err != nil {
			return nil, err
		}
	}
	return func(context.Context) error {
		f.log("heal %s", a)
		if f.heals != nil {
			return f.heals(a)
		}
		return nil
	}, nil
}

// others are who is in a visit with whom in these tests.
var others = map[string][]string{"a": {"b"}, "b": {"a"}, "c": {"a", "b"}}

func (f *fake) Start(_ context.Context, c drill.Client) (drill.Running, error) {
	if f.start != nil {
		return nil, f.start
	}
	f.log("start %s with %s at %s", c.Participant, c.Token, c.Gateways[0])
	reader, writer := io.Pipe()
	client := &fakeClient{reader: reader, writer: writer}
	f.mu.Lock()
	f.clients[c.Participant] = client
	f.mu.Unlock()
	go func() {
		client.say("joined", "gateway_id", "east-gateway-1", "state", "admitted")
		if f.quiet {
			return
		}
		client.say("placed", "sfu", "east-media-1", "region", "east", "epoch", 1)
		for _, other := range others[c.Participant] {
			client.say("media", "from", other, "source", "microphone")
		}
		if c.Relay {
			client.say("stats", "relay", "192.0.2.4")
			client.say("stats", "relay", "192.0.2.4")
		}
	}()
	return client, nil
}

// fakeClient says what it is told to.
type fakeClient struct {
	reader *io.PipeReader
	writer *io.PipeWriter
}

func (c *fakeClient) say(event string, members ...any) {
	line := map[string]any{"t": time.Now().UTC(), "event": event}
	for i := 0; i < len(members); i += 2 {
		line[fmt.Sprint(members[i])] = members[i+1]
	}
	text, _ := json.Marshal(line)
	_, _ = c.writer.Write(append(text, '\n'))
}

// silent says that nothing of from has come for a second.
func (c *fakeClient) silent(from string) {
	c.say("silent", "from", from, "since", time.Now().UTC().Add(-time.Second))
}

func (c *fakeClient) Events() io.Reader { return c.reader }

func (c *fakeClient) Stop(context.Context) error {
	_ = c.writer.Close()
	return nil
}

// crash ends the client by itself.
func (c *fakeClient) crash() { _ = c.writer.CloseWithError(errors.New("crashed")) }
