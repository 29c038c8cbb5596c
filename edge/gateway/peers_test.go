package gateway

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/signaling"
)

func gatewayAt(id, region, url string) discovery.Service {
	return discovery.Service{
		Name: discovery.GatewayService, ID: id, Node: id, Region: region, Health: discovery.Passing,
		Meta: map[string]string{discovery.MetaURL: url},
	}
}

func secure(id, region string) discovery.Service {
	return gatewayAt(id, region, "https://"+id+".example")
}

// eastOne is the gateway east-1 with a catalog.
func eastOne(services ...discovery.Service) *peers {
	p := newPeers("east-1", "east", "https://east-1.example", time.Now)
	p.set(services)
	return p
}

func ids(list []signaling.Gateway) []string {
	var names []string
	for _, g := range list {
		names = append(names, g.ID)
	}
	return names
}

func TestOrderOfGateways(t *testing.T) {
	everywhere := []discovery.Service{
		secure("east-1", "east"), secure("east-2", "east"), secure("onprem-1", "onprem"), secure("west-1", "west"),
	}
	westFirst, westOnly := []string{"east-1", "east-2", "west-1", "onprem-1"}, []string{"east-1", "west-1"}
	for name, test := range map[string]struct {
		client outlook
		want   []string
	}{
		"nothing is known":            {outlook{}, []string{"east-1", "east-2", "onprem-1", "west-1"}},
		"the nearest other region":    {outlook{RTT: map[string]float64{"onprem": 80, "west": 20, "east": 900}}, westFirst},
		"a measured region first":     {outlook{RTT: map[string]float64{"west": 400}}, westFirst},
		"the order of the policy":     {outlook{Allowed: []string{"west", "onprem", "east"}}, westFirst},
		"only what the policy allows": {outlook{Allowed: []string{"west"}, RTT: map[string]float64{"onprem": 1}}, westOnly},
		"a policy for nowhere here":   {outlook{Allowed: []string{"mars"}}, []string{"east-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			list := eastOne(everywhere...).list(test.client)
			require.Equal(t, test.want, ids(list))
			require.NoError(t, signaling.Gateways{Gateways: list}.Validate())
		})
	}
}

func TestGatewaysThatNobodyIsSentTo(t *testing.T) {
	closed, sick := secure("west-1", "west"), secure("west-2", "west")
	closed.Maintenance, sick.Health = true, discovery.Critical
	warned := secure("west-3", "west")
	warned.Health = discovery.Warning
	p := eastOne(
		closed, sick, warned, gatewayAt("west-4", "west", ""), gatewayAt("west-5", "west", "http://west-5.example"),
		gatewayAt("west-6", "west", "https://west-6.example;script-src *"), gatewayAt("west-7", "", "https://west-7.example"),
		gatewayAt("west-8", "west", "https://west-3.example/"),
	)
	list := p.list(outlook{})
	require.Len(t, list, 2, "two instances behind one address are one place to go")
	itself := signaling.Gateway{ID: "east-1", Region: "east", URL: "https://east-1.example"}
	require.Equal(t, itself, list[0], "in the catalog or not")
	require.Equal(t, "https://west-3.example", list[1].URL)
	require.Equal(t, map[string][]string{"west": {"https://west-3.example", "https://west-3.example"}}, p.regions(true))
}

func TestRegionsThatDoNotAnswerComeLast(t *testing.T) {
	lost := secure("west-1", "west")
	lost.Stale = true
	p := eastOne(lost, secure("onprem-1", "onprem"))
	require.Equal(t, []string{"east-1", "onprem-1", "west-1"}, ids(p.list(outlook{RTT: map[string]float64{"west": 10, "onprem": 90}})))
}

func TestManyGatewaysAreSharedOutAndBounded(t *testing.T) {
	var many []discovery.Service
	for _, region := range []string{"east", "north", "south", "west"} {
		for i := range 20 {
			many = append(many, secure(fmt.Sprintf("%s-%d", region, i), region))
		}
	}
	p := eastOne(many...)
	second := make(map[string]int)
	for i := range 200 {
		client := outlook{Session: fmt.Sprint("session-", i)}
		list := p.list(client)
		require.Len(t, list, signaling.MaxGateways)
		require.Equal(t, ids(list), ids(p.list(client)), "a session's order stays")
		regions := make(map[string]int)
		for _, g := range list {
			regions[g.Region]++
		}
		require.Equal(t, map[string]int{"east": 4, "north": 3, "south": 1}, regions)
		second[list[1].ID]++
	}
	require.Greater(t, len(second), 15, "the clients of a lost gateway do not all go to the same next one")
	require.Len(t, p.others(), maxOrigins)
	require.NotContains(t, p.others(), "https://east-1.example")
}

func TestOriginsForPages(t *testing.T) {
	sick := secure("a-sick", "west")
	sick.Health = discovery.Critical
	p := eastOne(secure("west-2", "west"), sick, secure("west-1", "west"), secure("east-1", "east"))
	require.Equal(t, []string{"https://west-1.example", "https://west-2.example", "https://a-sick.example"}, p.others(),
		"one that is sick may be well before the page is closed")

	plain := newPeers("dev", "local", "http://127.0.0.1:8080", time.Now)
	plain.set([]discovery.Service{gatewayAt("other", "local", "http://127.0.0.1:8081")})
	require.Equal(t, []string{"http://127.0.0.1:8081"}, plain.others(), "without TLS there is nothing to lose")
	require.Len(t, plain.list(outlook{}), 2)
}

func TestOriginsOfHandshakes(t *testing.T) {
	now := time.Now()
	p := newPeers("east-1", "east", "https://east-1.example", func() time.Time { return now })
	p.set([]discovery.Service{secure("west-1", "west"), gatewayAt("west-2", "west", "https://west-2.example:8443/")})
	for origin, known := range map[string]bool{
		"https://west-1.example": true, "https://WEST-1.example": true, "https://west-2.example:8443": true,
		"": false, "null": false, "https://west-2.example": false, "http://west-1.example": false,
		"https://west-1.example.evil": false, "https://west-1.example/": false, "https://elsewhere.example": false,
	} {
		require.Equal(t, known, p.knows(origin), origin)
	}

	p.set(nil)
	require.True(t, p.knows("https://west-1.example"), "pages of a lost gateway go on here")
	require.Empty(t, p.others(), "but no page is sent there")
	now = now.Add(originKeptFor)
	p.set([]discovery.Service{secure("west-1", "west")})
	now = now.Add(time.Minute)
	require.True(t, p.knows("https://west-1.example"))
	require.False(t, p.knows("https://west-2.example:8443"), "not for ever")
	p.set(nil)
	require.True(t, p.knows("https://west-1.example"))
	require.Len(t, p.gone, 1)

	for i := range 2 * originsKept {
		now = now.Add(time.Second)
		p.set([]discovery.Service{secure(fmt.Sprint("west-", i), "west")})
	}
	require.LessOrEqual(t, len(p.gone), originsKept)
	require.False(t, p.knows("https://west-0.example"))
	require.True(t, p.knows(fmt.Sprintf("https://west-%d.example", 2*originsKept-2)))
}

func TestOnlyRegionsThatThereAreCount(t *testing.T) {
	sick := secure("west-1", "west")
	sick.Health = discovery.Critical
	p := eastOne(sick)
	made := map[string]float64{"east": 1, "west": 2, "atlantis": 3}
	require.Equal(t, map[string]float64{"east": 1, "west": 2}, p.measured(made))
	require.Len(t, made, 3, "the message stays as it came")
	require.Empty(t, p.measured(nil))
}

// emptyCatalog cannot be reached.
type emptyCatalog struct{}

func (emptyCatalog) Services(context.Context, string) ([]discovery.Service, error) {
	return nil, discovery.ErrUnavailable
}

func (emptyCatalog) WatchServices(context.Context, string) <-chan []discovery.Service { return nil }

func TestCatalogThatCannotBeReachedChangesNothing(t *testing.T) {
	p := eastOne(secure("west-1", "west"))
	p.load(t.Context(), emptyCatalog{})
	require.Len(t, p.list(outlook{}), 2)
}

func FuzzPeers(f *testing.F) {
	f.Add("west-1", "west", "https://west-1.example", "https://west-1.example")
	f.Add("", "", "https://a;b", "null")
	f.Fuzz(func(t *testing.T, id, region, url, origin string) {
		p := eastOne(gatewayAt(id, region, url))
		p.knows(origin)
		require.NoError(t, signaling.Gateways{Gateways: p.list(outlook{})}.Validate())
		for _, other := range p.others() {
			require.False(t, strings.ContainsAny(other, " ;,'\"*\n"), other)
		}
	})
}
