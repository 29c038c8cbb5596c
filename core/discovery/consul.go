package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"
)

// MetaRegion is the key of a registered service's Meta that overrules its datacenter as Service.Region.
// It is Consul's alone: Service.Meta never shows it.
const MetaRegion = "region"

// ConsulConfig says how to reach Consul.
type ConsulConfig struct {
	// Address of this node's agent: https://HOST:PORT, http://HOST:PORT or unix:///PATH. Over plain HTTP/1.1 each
	// watched key holds a connection, of which agents allow 200 a client; over HTTPS they share a few.
	Address string
	// CAFile is a PEM file of the authorities that sign agents' certificates; empty means the system's. Only where it is
	// set, and Address is HTTPS, are other datacenters' servers asked directly, so that they can be while the own
	// datacenter's are down: the system's authorities certify any address in somebody's catalog.
	CAFile string
	// CertFile and KeyFile are a PEM client certificate, where agents verify incoming ones.
	CertFile, KeyFile string
	// ServerName is expected in this node's agent's certificate instead of the host of Address.
	ServerName string
	// Tokens gives the ACL token of each request; nil sends none.
	Tokens ConsulTokens
	// Login gets the tokens of other datacenters, and of the own one if Tokens is nil, if it names a file.
	Login ConsulLogin
	// AgentPort is the port of other nodes' agents, for their maintenance mode and for the keys and services of other
	// datacenters, by the scheme of Address (HTTPS if that is a socket); 0 means the port of Address, or 8501.
	AgentPort int
	// Log tells what fails while last good answers are kept.
	Log zerolog.Logger
}

// consulPace is how fast a Consul client notices things.
type consulPace struct {
	// request bounds everything that does not block on purpose, local what the agent answers by itself. An agent without
	// servers tries for 7 s to reach one.
	request, local time.Duration
	// list bounds reading all keys of a prefix, which may be tens of megabytes.
	list time.Duration
	// remote bounds a look-up in a region that has been silent, or in another one whose last good answer is known.
	remote time.Duration
	// wait is how long a blocking query waits for news, at most 10 min.
	wait time.Duration
	// regions is how often the federated datacenters and the addresses of their servers are read.
	regions time.Duration
	// leave is how long a datacenter that is listed no more may only be away; Consul itself forgets one as late.
	leave time.Duration
	// pulse is how often each region is asked whether it answers, silent after how long it is stale if it does not.
	pulse, silent time.Duration
	// hedge and connect are after how long another way to a region is tried too, or instead.
	hedge, connect time.Duration
	login          loginPace
	// first is how long the first list of a watch waits for regions that do not answer.
	first time.Duration
	// retry and retryMax bound the rest after a failure, which doubles with each.
	retry, retryMax time.Duration
	// every is the least time between two queries of a watch, beyond a burst.
	every time.Duration
	// beat is how often registered services show that they live, ttl the silence after which they are critical.
	beat, ttl time.Duration
	// lock is the leader lock's session TTL; Consul refuses less than 10 s.
	lock time.Duration
}

var consulNormalPace = consulPace{
	request:  1400 * time.Millisecond,
	local:    3 * time.Second,
	list:     6 * time.Second,
	remote:   500 * time.Millisecond,
	wait:     time.Minute,
	regions:  15 * time.Second,
	leave:    72 * time.Hour,
	pulse:    time.Second,
	silent:   3 * time.Second,
	hedge:    200 * time.Millisecond,
	connect:  400 * time.Millisecond,
	login:    normalLoginPace,
	first:    2 * time.Second,
	retry:    100 * time.Millisecond,
	retryMax: 5 * time.Second,
	every:    50 * time.Millisecond,
	beat:     5 * time.Second,
	ttl:      15 * time.Second,
	lock:     10 * time.Second,
}

// Consul is Discovery on a Consul agent. Services of every federated datacenter are seen, keys and locks are
// those of one.
//
// While the agent or its servers cannot be reached, watches keep quiet and Services returns the last good
// answer; everything else is ErrUnavailable within seconds.
type Consul struct {
	*consulKV

	config ConsulConfig
	pace   consulPace
	api    *api.Client
	http   *http.Client
	base   agentBase
	routes *consulRoutes // nil if other datacenters' servers are not asked directly
	logins *consulLogins // nil if tokens are good everywhere
	reach  *consulReach
	log    zerolog.Logger

	lists *feed[[]Service]

	mu      sync.Mutex
	self    consulSelf
	last    map[string]map[string][]Service // last good answers, by service name and datacenter
	own     map[string]Service              // what this process registered with the agent, by id
	regions map[string]*consulKV            // by datacenter
	// federated are the datacenters known last, the own one first, listed is when each other one was last listed.
	federated []string
	listed    map[string]time.Time

	// ctx is the life of the goroutines in work.
	ctx    context.Context
	stop   context.CancelFunc
	closed bool
	work   errgroup.Group
}

// consulSelf is what the agent says of itself; it never changes while the agent runs.
type consulSelf struct{ Node, Datacenter string }

// NewConsul returns a client of the agent, which it does not contact yet. Close ends it.
func NewConsul(config ConsulConfig) (*Consul, error) { return newConsul(config, consulNormalPace) }

func newConsul(config ConsulConfig, pace consulPace) (*Consul, error) {
	base, err := parseAgentAddress(config)
	if err := cmp.Or(err, config.Login.check(config.Tokens)); err != nil {
		return nil, err
	}
	transport, err := newConsulTransport(config, base)
	if err != nil {
		return nil, err
	}
	c := &Consul{
		config:  config,
		pace:    pace,
		base:    base,
		reach:   newConsulReach(pace.silent),
		log:     config.Log,
		last:    make(map[string]map[string][]Service),
		own:     make(map[string]Service),
		regions: make(map[string]*consulKV),
		listed:  make(map[string]time.Time),
	}
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.logins = c.newLogins()
	if base.scheme == "https" && config.CAFile != "" {
		c.routes = newConsulRoutes()
	}
	transport.self, transport.logins, transport.routes = c.Self, c.logins, c.routes
	transport.hedge, transport.connect = pace.hedge, pace.connect
	// Consul redirects no request of its API; whoever does must not be followed with a token.
	c.http = &http.Client{Transport: transport, CheckRedirect: stay}
	c.api, err = api.NewClient(&api.Config{
		Address:    base.host,
		Scheme:     base.scheme,
		HttpClient: c.http,
		Token:      "replaced", // the transport sets each request's token; this keeps the environment's out
	})
	if err != nil {
		c.stop()
		return nil, fmt.Errorf("consul: %w", err)
	}
	c.lists = newFeed(c.ctx, &c.work, c.followServices, sameServices, false)
	c.consulKV = c.kvOf("")
	c.start(c.keepAlive)
	c.start(c.keepRegions)
	return c, nil
}

func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// start runs a goroutine that Close waits for, and reports false after Close.
func (c *Consul) start(run func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.work.Go(func() error { run(); return nil })
	}
	return !c.closed
}

// Close deregisters what this process registered with the agent, gives up leader locks, ends watches, logs out of
// other datacenters and waits for all of it, for seconds at most.
func (c *Consul) Close() error {
	c.mu.Lock()
	c.closed = true
	regions := slices.Collect(maps.Values(c.regions))
	c.mu.Unlock()
	err := c.deregisterOwn()
	c.lists.close()
	for _, kv := range regions {
		kv.keys.close()
	}
	c.stop()
	err = cmp.Or(err, c.work.Wait())
	if c.logins != nil {
		c.logins.close(context.WithoutCancel(c.ctx))
	}
	c.http.CloseIdleConnections()
	return err
}

// Ready says whether the agent answers and its datacenter has a leader; ErrUnavailable if not.
func (c *Consul) Ready(ctx context.Context) error {
	var leader string
	limited, cancel := c.bounded(ctx)
	defer cancel()
	if err := c.read(limited, "/v1/status/leader", "", &leader); err != nil {
		return consulError(ctx, "leader", err)
	}
	if leader == "" {
		return fmt.Errorf("consul: %w: its servers have no leader", ErrUnavailable)
	}
	return nil
}

// Self returns the agent's node name and datacenter.
func (c *Consul) Self(ctx context.Context) (node, datacenter string, err error) {
	c.mu.Lock()
	self := c.self
	c.mu.Unlock()
	if self.Node != "" {
		return self.Node, self.Datacenter, nil
	}
	var answer struct {
		Config struct{ NodeName, Datacenter string }
	}
	limited, cancel := context.WithTimeout(ctx, c.pace.local)
	defer cancel()
	if err := c.read(limited, "/v1/agent/self", "", &answer); err != nil {
		return "", "", consulError(ctx, "agent", err)
	}
	if answer.Config.NodeName == "" || answer.Config.Datacenter == "" {
		return "", "", fmt.Errorf("consul agent: %w: it does not tell its node name and datacenter", ErrUnavailable)
	}
	self = consulSelf{answer.Config.NodeName, answer.Config.Datacenter}
	c.mu.Lock()
	c.self = self
	c.mu.Unlock()
	return self.Node, self.Datacenter, nil
}

// read is a plain query of an endpoint for which the library takes no context.
func (c *Consul) read(ctx context.Context, path, datacenter string, answer any) error {
	_, err := c.api.Raw().Query(path, answer, (&api.QueryOptions{Datacenter: datacenter}).WithContext(ctx))
	return err
}

// bounded is the context of a request that does not block on purpose.
func (c *Consul) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.pace.request)
}

// consulError turns what a request returned into this package's errors: the caller's own end first, then what
// Consul refuses as malformed; all else means that Consul cannot be used now.
func consulError(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("consul: %s: %w", what, ctx.Err())
	}
	kind := ErrUnavailable
	var status api.StatusError
	if errors.As(err, &status) {
		switch status.Code {
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
			kind = ErrInvalid
		case http.StatusNotFound:
			kind = ErrNotFound
		}
		err = fmt.Errorf("status %d: %.300s", status.Code, status.Body)
	}
	return fmt.Errorf("consul: %s: %w: %w", what, kind, err)
}
