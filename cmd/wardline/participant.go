package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wardline/wardline/core/observe"
	"github.com/wardline/wardline/edge/client"
)

// maxTokenLine bounds the line that the token is read from.
const maxTokenLine = 16 << 10

// participantOptions are the flags of "wardline participant".
type participantOptions struct {
	gateways   []string
	caFile     string
	rtt        map[string]int
	relay      bool
	admit      bool
	noPublish  bool
	untilStdin bool
	logLevel   string
}

func newParticipant() *cobra.Command {
	var o participantOptions
	cmd := &cobra.Command{
		Use:   "participant",
		Short: "Take part in a visit without a browser, for drills and load tests",
		Long: `Take part in a visit as one participant and print what happens as events, one JSON object a line
(docs/drills.md). It sends a silent microphone and a dark camera and measures the gaps in what it hears.
For drills and load tests: nobody sees or hears anything.

The join token is the first line of standard input, never an argument. SIGTERM or Ctrl-C leaves the visit.
The exit code is 0 if the participant joined and was not refused.`,
		Example: `  wardline token --encounter drill --role provider --participant d-1 |
    wardline participant --gateway https://127.0.0.1:8443 --ca-file ca.pem --admit`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runParticipant(cmd.Context(), o, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.gateways, "gateway", nil, "base URL of a gateway, the first is tried first; repeatable (required)")
	f.StringVar(&o.caFile, "ca-file", "", "PEM file of the authority behind the gateways' certificates (default: the system's)")
	f.StringToIntVar(&o.rtt, "rtt", nil,
		"round-trip time to claim, REGION=MILLISECONDS, so that a drill decides where it is; repeatable (default: measure)")
	f.BoolVar(&o.relay, "relay", false, "send and receive media through relays only")
	f.BoolVar(&o.admit, "admit", false, "let everybody in who waits, if the role may")
	f.BoolVar(&o.noPublish, "no-publish", false, "send nothing, only receive")
	f.BoolVar(&o.untilStdin, "until-stdin-closes", false, "leave when standard input closes, so that a parent that dies takes this along")
	f.StringVar(&o.logLevel, "log-level", "warn", "debug, info, warn or error; the log is JSON on standard error")
	cobra.CheckErr(cmd.MarkFlagRequired("gateway"))
	return cmd
}

func runParticipant(ctx context.Context, o participantOptions, stdin io.Reader, stdout, stderr io.Writer) error {
	unhurried := observe.NewWriter(stderr, "participant") // or who does not read the log stops the media
	defer func() { _ = unhurried.Close() }()
	log, err := observe.Logger(unhurried, "participant", o.logLevel)
	if err != nil {
		return fmt.Errorf("--log-level: %w", err)
	}
	trusted, err := trustedBy(o.caFile)
	if err != nil {
		return fmt.Errorf("--ca-file: %w", err)
	}
	input := bufio.NewReaderSize(stdin, maxTokenLine)
	token, err := awaitInput(ctx, func() (string, error) { return readToken(input) })
	if err != nil {
		return err
	}
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	if o.untilStdin {
		// Not waited for: a read of standard input cannot be taken back, and ends with the process.
		go func() {
			_, _ = io.Copy(io.Discard, input)
			leave()
		}()
	}
	lines := json.NewEncoder(stdout)
	err = client.Run(ctx, client.Config{
		Gateways: o.gateways, TLS: trusted, Token: token, Publish: !o.noPublish, Admit: o.admit, RelayOnly: o.relay, Log: log,
		RTT: claimed(o.rtt),
		Events: func(event client.Event) {
			if err := lines.Encode(event); err != nil {
				leave() // nobody reads any more
			}
		},
	})
	refused, isRefused := errors.AsType[*client.RefusedError](err)
	switch {
	case isRefused:
		return failed(fmt.Errorf("join: %w", refused))
	case errors.Is(err, client.ErrNeverJoined):
		return failed(err)
	case err != nil:
		return fmt.Errorf("participant: %w", err)
	}
	return nil
}

// claimed are round-trip times in milliseconds by region, nil for none.
func claimed(rtt map[string]int) map[string]float64 {
	if len(rtt) == 0 {
		return nil
	}
	times := make(map[string]float64, len(rtt))
	for region, ms := range rtt {
		times[region] = float64(ms)
	}
	return times
}

// readToken reads the first line of standard input.
func readToken(input *bufio.Reader) (string, error) {
	line, err := input.ReadSlice('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		// The error alone: what was read may be a token.
		return "", fmt.Errorf("standard input: the first line must be a join token of at most %d bytes: %w", maxTokenLine, err)
	}
	token := strings.TrimSpace(string(line))
	if token == "" {
		return "", errors.New("standard input: the first line must be a join token, it is empty")
	}
	return token, nil
}

// trustedBy is a TLS configuration that trusts the authorities in a PEM file only; nil for no file.
func trustedBy(file string) (*tls.Config, error) {
	if file == "" {
		return nil, nil
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("%s: holds no PEM certificate", file)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}
