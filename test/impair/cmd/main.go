// Command impair is a network that is as bad as it is told: it forwards UDP from each --listen address to the --to address at the
// same place, and takes orders, one JSON object a line, on standard input, until that closes. Each is answered by a line.
//
//	{"up": {"loss": 0.03}, "down": {"rate_kbps": 400, "delay_ms": 75}}    all flows, and those to come
//	{"present": true, "down": {"outage": true}}                           those there are, as if that network were gone
//	{"rebind": true}                                                      likewise; the server sees each at another address
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/wardline/wardline/test/impair"
)

// order is one line of standard input.
type order struct {
	Up      impair.Conditions `json:"up"`
	Down    impair.Conditions `json:"down"`
	Present bool              `json:"present"`
	Rebind  bool              `json:"rebind"`
}

// answer is one line of standard output. The counters are those of all flows until then.
type answer struct {
	Error string          `json:"error,omitempty"`
	Up    impair.Counters `json:"up"`
	Down  impair.Counters `json:"down"`
}

func main() {
	var listen, to []string
	var seed uint64
	cmd := &cobra.Command{
		Use: "impair", SilenceUsage: true, SilenceErrors: true, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return serve(listen, to, seed) },
	}
	cmd.Flags().StringSliceVar(&listen, "listen", nil, "IP:PORT where clients send to; repeatable")
	cmd.Flags().StringSliceVar(&to, "to", nil, "IP:PORT of the server behind it; one for each --listen")
	cmd.Flags().Uint64Var(&seed, "seed", 1, "what chance follows from")
	if err := cmd.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "impair:", err)
		os.Exit(1)
	}
}

func serve(listen, to []string, seed uint64) error {
	if len(listen) == 0 || len(listen) != len(to) {
		return fmt.Errorf("--listen %d times, --to %d times: must be as many, and at least one", len(listen), len(to))
	}
	proxies := make([]*impair.Proxy, 0, len(listen))
	defer func() {
		for _, p := range proxies {
			_ = p.Close()
		}
	}()
	for at := range listen {
		p, err := impair.Listen(listen[at], to[at], seed+uint64(1000*at))
		if err != nil {
			return err
		}
		proxies = append(proxies, p)
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(answer{}); err != nil { // ready
		return err
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		said := answer{}
		var o order
		err := json.Unmarshal(lines.Bytes(), &o)
		if err == nil {
			said, err = o.apply(proxies)
		}
		if err != nil {
			said.Error = err.Error()
		}
		if err := out.Encode(said); err != nil {
			return err
		}
	}
	return nil
}

// apply does as ordered.
func (o order) apply(proxies []*impair.Proxy) (answer, error) {
	if err := errors.Join(o.Up.Validate(), o.Down.Validate()); err != nil {
		return answer{}, err
	}
	said := answer{}
	for _, p := range proxies {
		for _, flow := range p.Flows() {
			up, down := flow.Counters()
			said.Up, said.Down = said.Up.Plus(up), said.Down.Plus(down)
			if err := o.change(flow); err != nil {
				return answer{}, err
			}
		}
		if !o.Present && !o.Rebind {
			p.Set(o.Up, o.Down)
		}
	}
	return said, nil
}

// change changes a flow that is there.
func (o order) change(flow *impair.Flow) error {
	if o.Rebind {
		return flow.Rebind()
	}
	flow.Set(o.Up, o.Down)
	return nil
}
