//go:build linux

package stack

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/wardline/wardline/test/stack/plan"
)

// verb is what a person may ask of a world.
type verb struct {
	usage    string
	min, max int
	do       func(w *World, ctx context.Context, a, b string) error
}

var verbs = map[string]verb{
	"kill":     {"kill NODE|REGION consul|nomad|vault|TASK: end a process with SIGKILL", 2, 2, (*World).Kill},
	"pause":    {"pause NODE|REGION [consul|nomad|vault|TASK]: stop a process, or all, without ending it", 1, 2, (*World).Pause},
	"resume":   {"resume NODE|REGION [consul|nomad|vault|TASK]: undo pause", 1, 2, (*World).Resume},
	"cut":      {"cut NODE|REGION [NODE|REGION]: packets vanish, all or those between two", 1, 2, (*World).Cut},
	"poweroff": {"poweroff NODE|REGION: cable first, then everything at once", 1, 1, only((*World).PowerOff)},
	"poweron":  {"poweron NODE|REGION: boot again, with the disks as they were", 1, 1, only((*World).PowerOn)},
	"seal":     {"seal NODE|REGION: Vault forgets its keys and answers nothing but that", 1, 1, only((*World).Seal)},
	"unseal":   {"unseal NODE|REGION: undo seal", 1, 1, only((*World).Unseal)},
	"deny":     {"deny NODE|REGION [COMPONENT]: a policy mistake: Vault refuses everything to a component, or to all", 1, 2, (*World).Deny},
	"allow":    {"allow NODE|REGION: undo deny", 1, 1, only((*World).Allow)},
	"heal":     {"heal NODE|REGION [NODE|REGION]: undo every verb above, or the cut between two", 1, 2, (*World).Heal},
}

func only(do func(*World, context.Context, string) error) func(*World, context.Context, string, string) error {
	return func(w *World, ctx context.Context, a, _ string) error { return do(w, ctx, a) }
}

// Verbs lists how each verb is used.
func Verbs() []string {
	usages := make([]string, 0, len(verbs))
	for _, v := range verbs {
		usages = append(usages, v.usage)
	}
	slices.Sort(usages)
	return usages
}

// Perform does what a person asked for by name; see Verbs.
func (w *World) Perform(ctx context.Context, name string, args []string) error {
	v, ok := verbs[name]
	if !ok {
		return fmt.Errorf("%w: no verb %q", plan.ErrInvalid, name)
	}
	if len(args) < v.min || len(args) > v.max {
		return fmt.Errorf("%w: use: %s", plan.ErrInvalid, v.usage)
	}
	args = append(slices.Clone(args), "", "")
	return v.do(w, ctx, args[0], args[1])
}

// Status is a table of the world's nodes, their state and their agents, and the ways in.
func (w *World) Status() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NODE\tADDRESS\tMACHINE\tCABLE\tCONSUL\tNOMAD\tVAULT")
	for _, planned := range w.plan.Nodes() {
		n := w.nodes[planned.Name]
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", n.Name, n.Addr,
			either(n.machine != nil && n.machine.Running(), "on", "off"), either(n.severed, "cut", "plugged"),
			w.agentState(n, consulAgent), w.agentState(n, nomadAgent), w.vaultState(n))
	}
	_ = table.Flush() // to a strings.Builder
	cuts := make([]string, 0, len(w.cuts))
	for p := range w.cuts {
		cuts = append(cuts, strings.TrimSpace("cut: "+p.a+" "+p.b)+"\n")
	}
	slices.Sort(cuts)
	text.WriteString(strings.Join(cuts, ""))
	text.WriteString("\n" + w.links())
	return text.String()
}

func (w *World) agentState(n *node, name string) string {
	if !n.Agents() {
		return "-"
	}
	return either(n.running(name), "running", "down")
}

func either(condition bool, yes, no string) string {
	if condition {
		return yes
	}
	return no
}

// links are what a person opens in a browser.
func (w *World) links() string {
	var text strings.Builder
	for _, r := range w.plan.Regions {
		fmt.Fprintf(&text, "%s: Consul %s/ui  Nomad %s/ui", r.Name, w.Consul(r.Name).URL, w.Nomad(r.Name).URL)
		if vault := w.Vault(r.Name); vault != nil {
			fmt.Fprintf(&text, "  Vault %s/ui", vault.URL)
		}
		text.WriteByte('\n')
	}
	fmt.Fprintf(&text, "tokens: %s  authority: %s  logs: %s/NODE/*.log\n", AccessFile(w.dir), w.CAFile(), w.dir)
	if w.secrets.Vaults != nil {
		fmt.Fprintf(&text, "root authority of Wardline's certificates: %s\n", w.RootFile())
	}
	return text.String()
}
