// Command impair is a network that is as bad as it is told: it forwards UDP from each --listen address to the --to address at the
// same place, and takes orders, one JSON object a line, on standard input, until that closes. Each is answered by a line.
//
//	{"up": {"loss": 0.03}, "down": {"rate_kbps": 400, "delay_ms": 75}}    all flows
//	{"port": 50123, "down": {"outage": true}}                             the flow of the client with this port
//	{"port": 50123, "rebind": true}                                       which the server then sees at another address
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
	Port   uint16            `json:"port"`
	Up     impair.Conditions `json:"up"`
	Down   impair.Conditions `json:"down"`
	Rebind bool              `json:"rebind"`
}

// answer is one line of standard output.
type answer struct {
	Error string           `json:"error,omitempty"`
	Up    *impair.Counters `json:"up,omitempty"`
	Down  *impair.Counters `json:"down,omitempty"`
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
	for _, p := range proxies {
		if o.Port == 0 {
			p.Set(o.Up, o.Down)
			continue
		}
		flow := p.Flow(o.Port)
		if flow == nil {
			continue
		}
		up, down := flow.Counters()
		said := answer{Up: &up, Down: &down}
		if o.Rebind {
			return said, flow.Rebind()
		}
		flow.Set(o.Up, o.Down)
		return said, nil
	}
	if o.Port != 0 {
		return answer{}, fmt.Errorf("port %d: no client sent from there", o.Port)
	}
	return answer{}, nil
}
