package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/wardline/wardline/edge/drill"
	"github.com/wardline/wardline/edge/drill/report"
	"github.com/wardline/wardline/edge/drill/scenario"
	"github.com/wardline/wardline/edge/drill/timeline"
)

// drillOptions are the flags of "wardline drill".
type drillOptions struct {
	application

	data     string
	gateways []string
	caFile   string
	world    string
	consul   string
	nomad    string
	only     []string
	report   string
	progress string
	yes      bool
}

func newDrill() *cobra.Command {
	var o drillOptions
	cmd := &cobra.Command{
		Use:   "drill FILE...",
		Short: "Break something on purpose while synthetic visits run, and report what they noticed",
		Long: `Run the drills of scenario files (docs/drills.md): create synthetic visits, wait until they are stable,
break something, measure what their participants notice, heal, and compare with the drill's targets.
A drill's controls are then run too: they must miss their targets, which shows that the drill can fail.

Without --world it runs on the real cluster that CONSUL_HTTP_ADDR and NOMAD_ADDR lead to, breaks things
through Consul maintenance and Nomad only, says what it is going to do and asks first. Ctrl-C heals
what was broken before it ends.

Exit codes: 0 every target met and every control failed as it should, 1 otherwise, 2 a scenario or
the usage is wrong.

What can be injected:
` + verbTable(),
		Example: `  wardline drill check drills/sfu.hcl
  wardline drill drills/sfu.hcl --tenant hospital --tenant-key hospital.pem
  wardline drill test/drills/failure-table.hcl --world build/world --ca-file ca.pem`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: scenarioFiles,
		RunE:              func(cmd *cobra.Command, args []string) error { return runDrills(cmd, o, args) },
	}
	f := cmd.Flags()
	f.StringVar(&o.data, "data", defaultData, "folder with the tenant's key and, without Consul, what the components know of each other")
	o.bind(f)
	f.StringSliceVar(&o.gateways, "gateway", nil, "base URL of a gateway to create visits at, before those in the catalog; repeatable")
	f.StringVar(&o.caFile, "ca-file", "", "PEM file of the authority behind the gateways' certificates (default: the system's)")
	f.StringVar(&o.world, "world", "", "command that breaks the nodes of a world and runs participants on them, such as build/world")
	f.StringVar(&o.consul, "consul", "", "URL of a Consul agent; its token and certificates as for consul(1) (default: CONSUL_HTTP_ADDR)")
	f.StringVar(&o.nomad, "nomad", "", "URL of a Nomad agent; its token and certificates as for nomad(1) (default: NOMAD_ADDR)")
	f.StringSliceVar(&o.only, "only", nil, "run only the drill of this name; repeatable")
	f.StringVar(&o.report, "report", "drill-report", "folder to write report.json and report.html to")
	f.StringVar(&o.progress, "progress", "text", "how progress is shown on standard error: text, json or none")
	f.BoolVar(&o.yes, "yes", false, "do not ask before breaking something on a real cluster")
	cmd.AddCommand(newDrillCheck())
	return cmd
}

// scenarioFiles completes the names of scenario files.
func scenarioFiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"hcl"}, cobra.ShellCompDirectiveFilterFileExt
}

// verbTable is the part of the help that lists the verbs.
func verbTable() string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, v := range scenario.Verbs() {
		fmt.Fprintf(table, "  %s\t%s\t%s\n", v.Name, v.Place, v.Does)
	}
	_ = table.Flush() // to a strings.Builder
	return strings.TrimRight(text.String(), "\n")
}

func newDrillCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE...",
		Short: "Check scenario files and list their drills, without running anything",
		Args:  cobra.MinimumNArgs(1), ValidArgsFunction: scenarioFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			files, err := loadScenarios(args)
			if err != nil {
				return err
			}
			table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, f := range files {
				for _, d := range f.Drills {
					fmt.Fprintf(table, "%s\t%s\t%s\n", d.Name, injected(d), d.Description)
					for _, c := range d.Controls {
						fmt.Fprintf(table, "%s, control %s\t%s\t%s\n", d.Name, c.Name, injected(c.AsDrill(d)), c.Description)
					}
				}
			}
			return failed(table.Flush())
		},
	}
}

// injected is what a drill breaks, as it is written.
func injected(d scenario.Drill) string {
	texts := make([]string, 0, len(d.Injections))
	for _, i := range d.Injections {
		texts = append(texts, i.Text)
	}
	return strings.Join(texts, ", ")
}

// loadScenarios reads all files and tells what is wrong with any of them.
func loadScenarios(names []string) ([]scenario.File, error) {
	files := make([]scenario.File, 0, len(names))
	problems := make([]error, 0, len(names))
	for _, name := range names {
		file, err := scenario.Load(name)
		files, problems = append(files, file), append(problems, err)
	}
	return files, errors.Join(problems...)
}

// selected are the drills to run, in order.
func (o drillOptions) selected(files []scenario.File) ([]scenario.Drill, error) {
	var all []scenario.Drill
	var names []string
	for _, f := range files {
		for _, d := range f.Drills {
			if slices.Contains(names, d.Name) {
				return nil, fmt.Errorf("%s: a second drill %q: names are unique in all files", f.Name, d.Name)
			}
			all, names = append(all, d), append(names, d.Name)
		}
	}
	for _, name := range o.only {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("--only %q: must be one of %s", name, strings.Join(names, ", "))
		}
	}
	if len(o.only) > 0 {
		all = slices.DeleteFunc(all, func(d scenario.Drill) bool { return !slices.Contains(o.only, d.Name) })
	}
	return all, nil
}

func runDrills(cmd *cobra.Command, o drillOptions, names []string) error {
	files, err := loadScenarios(names)
	if err != nil {
		return err
	}
	drills, err := o.selected(files)
	if err != nil {
		return err
	}
	progress, err := progressTo(cmd.ErrOrStderr(), o.progress)
	if err != nil {
		return err
	}
	ground, err := o.open(cmd.Context())
	if err != nil {
		return err
	}
	defer ground.close()
	ground.runner.Progress = progress
	for _, d := range drills {
		if err := ground.runner.Check(d); err != nil {
			return err
		}
	}
	if o.world == "" && !o.yes {
		if err := ask(cmd.Context(), cmd.InOrStdin(), cmd.ErrOrStderr(), ground.region, drills); err != nil {
			return err
		}
	}
	result := report.Report{
		Begin: time.Now().UTC(), Versions: ground.versions, Host: report.ThisHost(), Scenarios: scenariosOf(files), Runs: []drill.Outcome{},
	}
	for _, d := range drills {
		outcomes, err := ground.runner.Run(cmd.Context(), d)
		result.Runs = append(result.Runs, outcomes...)
		if err != nil {
			result.Interrupted = true
			break
		}
	}
	result.Finish = time.Now().UTC()
	result.Complete()
	page, unwritten := filepath.Join(o.report, report.HTMLFile), result.Write(o.report)
	if unwritten != nil {
		page, unwritten = "not written", failed(fmt.Errorf("--report: %w", unwritten))
	}
	return errors.Join(conclude(cmd.OutOrStdout(), result, page), unwritten)
}

func scenariosOf(files []scenario.File) []report.Scenario {
	all := make([]report.Scenario, 0, len(files))
	for _, f := range files {
		all = append(all, report.Scenario{File: filepath.Base(f.Name), SHA256: f.SHA256})
	}
	return all
}

// conclude prints a line a run and turns the verdict into an exit code.
func conclude(out io.Writer, r report.Report, page string) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	wrong := 0
	for _, run := range r.Runs {
		name, figures := run.Drill, run.Error
		if run.Control != "" {
			name += ", control " + run.Control
		}
		if run.Result != nil {
			figures = fmt.Sprintf("visits lost %d, longest gap %s", run.Result.Lost, run.Result.LongestGap.Max)
			figures += missed(run.Result.Checks)
			if run.Error != "" {
				figures += "; " + run.Error
			}
		}
		if !run.Passed {
			wrong++
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", name, run.Verdict(), strings.ReplaceAll(figures, "\n", "; "))
	}
	if err := table.Flush(); err != nil {
		return failed(err)
	}
	fmt.Fprintf(out, "report: %s\n", page)
	switch {
	case r.Interrupted:
		return failed(errors.New("the drill was interrupted; what was broken is healed unless the report says otherwise"))
	case !r.Passed:
		return failed(fmt.Errorf("%d of %d runs are not as they should be", wrong, len(r.Runs)))
	}
	return nil
}

// missed tells the targets that were not met.
func missed(checks []timeline.Check) (text string) {
	for _, c := range checks {
		if !c.Met {
			text += fmt.Sprintf("; %s: %s, must be %s", c.Name, c.Actual, c.Target)
		}
	}
	return text
}

// progressTo shows progress as people or programs like it.
func progressTo(out io.Writer, form string) (func(drill.Progress), error) {
	switch form {
	case "none":
		return nil, nil
	case "json":
		encoder := json.NewEncoder(out)
		return func(p drill.Progress) { _ = encoder.Encode(p) }, nil
	case "text":
		return func(p drill.Progress) {
			name := p.Drill
			if p.Control != "" {
				name += ", control " + p.Control
			}
			fmt.Fprintf(out, "%s %s: %s: %s\n", p.At.Local().Format("15:04:05.000"), name, p.Phase, p.Text)
		}, nil
	}
	return nil, fmt.Errorf("--progress %q: must be text, json or none", form)
}

// ask says what is going to happen to a real cluster and wants its name typed.
func ask(ctx context.Context, in io.Reader, out io.Writer, region string, drills []scenario.Drill) error {
	if !isTerminal(in) {
		return errors.New("this breaks things on a real cluster: run it in a terminal to be asked, or give --yes")
	}
	return confirm(ctx, in, out, region, drills)
}
