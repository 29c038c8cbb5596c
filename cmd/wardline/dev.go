package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/wardline/wardline/core/access"
)

// devOptions are the flags of "wardline dev".
type devOptions struct {
	common  commonOptions
	gateway gatewayOptions
	sfu     sfuOptions
	turn    turnOptions
	e2ee    bool
}

// Media servers wardline dev runs, so that one can fail.
const devSFUs = 2

// devControl is where the components reach each other.
const devControl = "127.0.0.1:0"

// devLinkTTL is how long the printed links work.
const devLinkTTL = 12 * time.Hour

func newDev() *cobra.Command {
	var o devOptions
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run everything in one process and print links for a visit",
		Long: `Run a gateway, two media servers and a TURN relay in one process, and print a provider link and a
patient link. Nothing else is needed; keys are kept on local disk in --data, so this is not for real patients.

Ports, all on this machine only unless told otherwise:
  --http   8443  pages, API, signaling, WHIP and WHEP (HTTPS with a certificate made on the spot)
  --media  7200  media of the first SFU, UDP and TCP; the second SFU has the next port
  --turn   3478  relay, UDP and TCP; TLS is on the next port
  --admin  9090  /metrics, /live, /ready, /debug/pprof`,
		Example: `  wardline dev
  wardline dev --http 127.0.0.1:8080 --plain-http
  wardline token --encounter demo --role interpreter --participant i-1 --format link`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDev(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	o.common.id, o.common.node, o.common.region, o.common.register = "dev", "dev", "local", true
	f := cmd.Flags()
	f.StringVar(&o.common.data, "data", defaultData, "folder for keys")
	f.StringVar(&o.common.admin, "admin", "127.0.0.1:9090", "HOST:PORT of /metrics, /live, /ready and /debug/pprof")
	f.StringVar(&o.common.logLevel, "log-level", "warn", "debug, info, warn or error; the log is JSON on standard error")
	f.StringVar(&o.sfu.media, "media", "127.0.0.1:7200", "HOST:PORT for media, UDP and TCP; the second SFU has the next port")
	f.BoolVar(&o.e2ee, "e2ee", false, "the links are for an end-to-end encrypted visit")
	o.common.pprof = true
	o.gateway.bind(cmd)
	o.sfu.bindShared(cmd)
	o.turn.bind(cmd)
	return cmd
}

// runDev starts the components so that each finds those it needs, and stops the gateway first, so that
// participants are told before their media ends.
func runDev(ctx context.Context, o devOptions, stdout, stderr io.Writer) error {
	p, err := newDevProcess(o.common, stderr)
	if err != nil {
		return err
	}
	defer p.close()
	mediaCtx, stopMedia := context.WithCancel(context.WithoutCancel(ctx))
	defer stopMedia()
	media, mediaCtx := errgroup.WithContext(mediaCtx)
	front, frontCtx := errgroup.WithContext(ctx)
	front.Go(func() error { // a media component that fails ends the rest
		select {
		case <-mediaCtx.Done():
			return errMediaEnded
		case <-frontCtx.Done():
			return nil
		}
	})
	err = p.startDev(frontCtx, mediaCtx, front, media, o, stdout)
	if err != nil {
		front.Go(func() error { return err })
	}
	frontErr := front.Wait()
	if ctx.Err() != nil && err == nil {
		_, _ = fmt.Fprintln(stdout, "\nStopping: participants are told, media ends.")
	}
	stopMedia()
	mediaErr := media.Wait()
	if errors.Is(frontErr, errMediaEnded) {
		frontErr = nil
	}
	if err != nil {
		return unlessStopped(ctx, err)
	}
	return unlessStopped(ctx, failed(errors.Join(frontErr, mediaErr)))
}

var errMediaEnded = errors.New("a media component ended")

func (p *process) startDev(frontCtx, mediaCtx context.Context, front, media *errgroup.Group, o devOptions, stdout io.Writer) error {
	o.sfu.control, o.turn.control, o.gateway.internal = devControl, devControl, devControl
	if err := cmp.Or(o.common.check(), o.sfu.check(), o.turn.check(), o.gateway.check(), o.turn.checkAnnounced(&o.common)); err != nil {
		return err
	}
	serveAdmin, admin, err := p.serveAdmin(frontCtx)
	if err != nil {
		return err
	}
	media.Go(func() error { return serveAdmin(mediaCtx) })
	first := o.sfu.media
	var medias []string
	for n := range devSFUs {
		if o.sfu.media, err = nextPort("--media", first, n); err != nil {
			return err
		}
		bound, err := p.startSFU(mediaCtx, media, fmt.Sprintf("sfu-%d", n+1), o.sfu)
		if err != nil {
			return err
		}
		medias = append(medias, bound)
	}
	relay, err := p.startTURN(mediaCtx, media, "turn-1", o.turn)
	if err != nil {
		return err
	}
	url, err := p.startGateway(frontCtx, front, "gateway-1", o.gateway)
	if err != nil {
		return err
	}
	return p.printLinks(frontCtx, stdout, o.e2ee, url, relay, admin, strings.Join(medias, " and "))
}

func (p *process) printLinks(ctx context.Context, stdout io.Writer, e2ee bool, url, relay, admin, media string) error {
	encounter := "visit-" + time.Now().Format("150405")
	var links strings.Builder
	for _, person := range []struct {
		role access.Role
		id   string
		name string
	}{{access.Provider, "provider-1", "Dr. Demo"}, {access.Patient, "patient-1", "Pat Demo"}} {
		now := time.Now()
		token, err := access.Mint(ctx, p.keeper, access.Grant{
			Tenant: devTenant, Encounter: encounter, Participant: person.id, Role: person.role, Name: person.name,
			E2EE: e2ee, Expires: now.Add(devLinkTTL),
		}, now, now)
		if err != nil {
			return failed(err)
		}
		fmt.Fprintf(&links, "  %-9s %s\n\n", person.role, joinLink(url, token))
	}
	more := ""
	if e2ee {
		more = "--e2ee "
	}
	folder, err := filepath.Abs(p.options.data)
	if err != nil {
		folder = p.options.data
	}
	_, err = fmt.Fprintf(stdout, `Wardline %s is ready. Open each link in a browser of its own:

%sMore people: %s token --data %s --encounter %s --role interpreter --participant i-1 %s--format link

  media  %s (UDP and TCP)
  relay  %s
  admin  http://%s/metrics
  keys   on local disk in %s: for trying out, not for real patients
Ctrl-C stops.
`, currentBuild().Version, links.String(), self(), p.options.data, encounter, more, media, relay, admin, folder)
	return failed(err)
}

// self is how this program was called, so that hints can be pasted: "go run" leaves no binary behind.
func self() string {
	if strings.Contains(os.Args[0], "go-build") {
		return "go run ./cmd/wardline"
	}
	return os.Args[0]
}
