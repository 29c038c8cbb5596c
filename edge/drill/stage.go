package drill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/edge/drill/scenario"
	"github.com/wardline/wardline/edge/drill/timeline"
)

// stage is where the visits of a run take place.
type stage struct {
	run     *run
	servers []Server
	created map[string]Created
	clients []*client
}

// client is a participant's running client and what follows its lines.
type client struct {
	person    timeline.Person
	running   Running
	following sync.WaitGroup
}

// learn remembers where everything is while the cluster is healthy.
func (s *stage) learn(ctx context.Context) (err error) {
	s.created = map[string]Created{}
	s.servers, err = s.run.Cluster.Servers(ctx)
	return err
}

// open creates the visits whose time it is and starts the participants who join then, all at once.
func (s *stage) open(ctx context.Context, when scenario.When) error {
	var opening sync.WaitGroup
	var mu sync.Mutex
	var problems []error
	for _, visit := range s.run.drill.Visits {
		opening.Go(func() {
			started, err := s.openVisit(ctx, visit, when, &mu)
			mu.Lock()
			defer mu.Unlock()
			s.clients = append(s.clients, started...)
			problems = append(problems, err)
		})
	}
	opening.Wait()
	if err := errors.Join(problems...); err != nil {
		return errors.Join(context.Cause(ctx), fmt.Errorf("%w: %w", ErrVisits, err))
	}
	return nil
}

// openVisit returns the clients it started, also next to an error. mu guards what visits share.
func (s *stage) openVisit(ctx context.Context, visit scenario.Visit, when scenario.When, mu *sync.Mutex) ([]*client, error) {
	mu.Lock()
	created, exists := s.created[visit.Name]
	mu.Unlock()
	if !exists && visit.InOutage() == (when == scenario.Outage) {
		var err error
		if created, err = s.run.Visits.Create(ctx, s.creators(visit), visit); err != nil {
			return nil, fmt.Errorf("create visit %s: %w", visit.Name, err)
		}
		mu.Lock()
		s.created[visit.Name] = created
		mu.Unlock()
	}
	var started []*client
	for _, p := range visit.Participants {
		if p.Joins != when {
			continue
		}
		c, err := s.start(ctx, visit, p, created.Tokens[p.Name])
		if err != nil {
			return started, fmt.Errorf("start %s of %s: %w", p.Name, visit.Name, err)
		}
		started = append(started, c)
	}
	return started, nil
}

func (s *stage) start(ctx context.Context, visit scenario.Visit, p scenario.Participant, token string) (*client, error) {
	gateways, err := s.gatewaysOf(visit, p)
	if err != nil {
		return nil, err
	}
	who := timeline.Person{Visit: visit.Name, Participant: p.Name}
	s.run.watch.add(timeline.Event{At: time.Now().UTC(), Kind: timeline.Started, Visit: who.Visit, Participant: who.Participant})
	running, err := s.run.Clients.Start(ctx, Client{
		Person: who, At: p.At, Gateways: gateways, Token: token, RTT: visit.RTT, Relay: p.Relay, Admit: p.Role == access.Provider,
	})
	if err != nil {
		return nil, err
	}
	c := &client{person: who, running: running}
	c.following.Go(func() {
		s.run.watch.follow(who, running.Events(), s.relay)
		s.run.watch.add(timeline.Event{
			At: time.Now().UTC(), Kind: timeline.Ended, Visit: who.Visit, Participant: who.Participant, Text: "its process ended",
		})
	})
	return c, nil
}

// close ends all clients and visits.
func (s *stage) close(ctx context.Context) error {
	var closing sync.WaitGroup
	for _, c := range s.clients {
		closing.Go(func() {
			_ = c.running.Stop(ctx) // how it ended is in its events
			c.following.Wait()
		})
	}
	closing.Wait()
	var problems []error
	for _, visit := range s.visits() {
		created, ok := s.created[visit.Name]
		if !ok {
			continue
		}
		if err := s.run.Visits.End(ctx, s.creators(visit), created.ID); err != nil {
			problems = append(problems, fmt.Errorf("end visit %s: %w", visit.Name, err))
		}
	}
	return errors.Join(problems...)
}

// creators are the gateways where a visit may be created, the best first.
func (s *stage) creators(visit scenario.Visit) []string {
	return append(slices.Clone(s.run.Gateways), s.urls(visit.Regions)...)
}

// urls are the gateways of these regions in their order, then all others.
func (s *stage) urls(regions []string) []string {
	rank := func(server Server) int {
		if i := slices.Index(regions, server.Region); i >= 0 {
			return i
		}
		return len(regions)
	}
	var gateways []Server
	for _, server := range s.servers {
		if server.Kind == "gateway" && server.URL != "" {
			gateways = append(gateways, server)
		}
	}
	slices.SortStableFunc(gateways, func(a, b Server) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.ID, b.ID)) })
	urls := make([]string, 0, len(gateways))
	for _, g := range gateways {
		urls = append(urls, g.URL)
	}
	return urls
}

// gatewaysOf is where a participant connects to: what the scenario says, else the visit's home. A client learns of the other
// gateways from the first one, but gets a second one in case the first is down already.
func (s *stage) gatewaysOf(visit scenario.Visit, p scenario.Participant) ([]string, error) {
	want := cmp.Or(p.Gateway, visit.Home())
	if strings.Contains(want, "://") {
		return []string{want}, nil
	}
	var urls []string
	for _, server := range s.servers {
		if server.Kind == "gateway" && server.URL != "" && (want == "" || server.Region == want || server.ID == want) {
			urls = append(urls, server.URL)
		}
	}
	if len(urls) > 0 {
		return urls, nil
	}
	if len(s.run.Gateways) > 0 && p.Gateway == "" {
		return s.run.Gateways, nil
	}
	return nil, fmt.Errorf("no gateway %q in the catalog", want)
}

// relay names the relay at an address; an address that no relay has stays as it is.
func (s *stage) relay(address string) string {
	for _, server := range s.servers {
		if server.Kind == "relay" && slices.Contains(server.Addresses, address) {
			return server.ID
		}
	}
	return address
}

// facts say where the visits are now.
func (s *stage) facts() scenario.Facts {
	facts := scenario.Facts{Visits: map[string]scenario.VisitFacts{}}
	s.run.watch.look(func(views map[timeline.Person]*timeline.View) {
		for _, visit := range s.run.drill.Visits {
			if visit.InOutage() {
				continue
			}
			known := scenario.VisitFacts{Home: visit.Home(), Participants: map[string]scenario.ParticipantFacts{}}
			var epoch uint64
			for _, p := range visit.Participants {
				v := views[timeline.Person{Visit: visit.Name, Participant: p.Name}]
				if v == nil {
					continue
				}
				known.Participants[p.Name] = scenario.ParticipantFacts{
					Gateway: s.server("gateway", v.Gateway), Relay: s.server("relay", v.Relay),
				}
				if v.Epoch >= epoch && v.SFU != "" {
					epoch, known.SFU = v.Epoch, s.server("sfu", v.SFU)
					known.SFU.Region = cmp.Or(known.SFU.Region, v.Region)
				}
			}
			facts.Visits[visit.Name] = known
		}
	})
	return facts
}

// server finds a component by its id or URL. One that the catalog does not know is taken to be named after its node.
func (s *stage) server(kind, id string) scenario.Server {
	for _, server := range s.servers {
		if server.Kind == kind && id != "" && (server.ID == id || server.URL == id) {
			return scenario.Server{ID: server.ID, Node: server.Node, Region: server.Region}
		}
	}
	return scenario.Server{ID: id, Node: id}
}

// visits are those of the drill, none before the stage is set.
func (s *stage) visits() []scenario.Visit {
	if s.run == nil {
		return nil
	}
	return s.run.drill.Visits
}
