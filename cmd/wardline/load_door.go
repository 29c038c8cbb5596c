package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/observe"
	"github.com/wardline/wardline/edge/drill/tenant"
	"github.com/wardline/wardline/edge/load"
	"github.com/wardline/wardline/edge/load/signaled"
	"github.com/wardline/wardline/edge/load/whip"
)

// loadTokenTTL is how long after its making a load test's participant may join, and resume.
const loadTokenTTL = 12 * time.Hour

// loadDoorOptions say how participants of a load test get in.
type loadDoorOptions struct {
	application

	data       string
	gateways   []string
	caFile     string
	role       string
	relay      bool
	whip, whep string
	bearerFile string
	logLevel   string
}

func (o *loadDoorOptions) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.data, "data", defaultData, "folder with the tenant's key and, without --gateway, the running gateway's URL")
	o.application.bind(f)
	f.StringSliceVar(&o.gateways, "gateway", nil,
		"base URL of a gateway; repeatable, participants are spread (default: the one that runs on --data)")
	f.StringVar(&o.caFile, "ca-file", "",
		"PEM file of the authority behind the servers' certificates (default: that of --data without --gateway, otherwise the system's)")
	f.StringVar(&o.role, "role", string(access.Patient),
		"role of everybody but each visit's first participant, who is a provider and lets the others in")
	f.BoolVar(&o.relay, "relay", false, "send and receive media through relays only")
	f.StringVar(&o.whip, "whip", "", "publish at this WHIP endpoint instead; {visit} and {publisher} in it are numbers")
	f.StringVar(&o.whep, "whep", "", "receive from this WHEP endpoint instead; once from each publisher if {publisher} is in it")
	f.StringVar(&o.bearerFile, "bearer-file", "", "file with the token for --whip and --whep")
	f.StringVar(&o.logLevel, "log-level", "error", "debug, info, warn or error; the log is JSON on standard error")
}

// open prepares the way in.
func (o loadDoorOptions) open(stderr io.Writer) (load.Door, error) {
	if o.whip != "" || o.whep != "" {
		return o.openWHIP()
	}
	if o.bearerFile != "" {
		return nil, errors.New("--bearer-file: is for --whip and --whep")
	}
	log, err := observe.Logger(stderr, "load", o.logLevel)
	if err != nil {
		return nil, fmt.Errorf("--log-level: %w", err)
	}
	role, err := access.ParseRole(o.role)
	if err != nil {
		return nil, fmt.Errorf("--role: %w", err)
	}
	key, keyID, err := o.key(o.data)
	if err != nil {
		return nil, err
	}
	if err := checkGateways(o.gateways); err != nil {
		return nil, err
	}
	gateways, caFile := o.gateways, o.caFile
	if len(gateways) == 0 {
		running, err := runningURL(o.data, "--gateway")
		if err != nil {
			return nil, err
		}
		gateways = []string{running}
		if caFile == "" {
			caFile = filepath.Join(secretsDir(o.data), "ca.pem")
		}
	}
	trusted, err := trustedBy(caFile)
	if err != nil {
		return nil, fmt.Errorf("--ca-file: %w", err)
	}
	signer := access.KeySigner{ID: keyID, Key: key}
	visits := tenant.New(o.tenant, keyID, key, trusted)
	return signaled.New(signaled.Config{
		Gateways: gateways, TLS: trusted, Role: role, RelayOnly: o.relay, Log: log,
		Token: func(ctx context.Context, visit, participant string, role access.Role) (string, error) {
			now := time.Now()
			return access.MintTenant(ctx, signer, access.Grant{
				Tenant: o.tenant, Encounter: visit, Participant: participant, Role: role, Expires: now.Add(loadTokenTTL),
			}, now, now)
		},
		End: func(ctx context.Context, visit string) error { return visits.End(ctx, gateways, visit) },
	}), nil
}

func (o loadDoorOptions) openWHIP() (load.Door, error) {
	if o.whip == "" {
		return nil, errors.New("--whep: needs --whip, where what is received is published")
	}
	trusted, err := trustedBy(o.caFile)
	if err != nil {
		return nil, fmt.Errorf("--ca-file: %w", err)
	}
	bearer, err := readBearer(o.bearerFile)
	if err != nil {
		return nil, fmt.Errorf("--bearer-file: %w", err)
	}
	door, err := whip.New(whip.Config{Publish: o.whip, Subscribe: o.whep, Bearer: bearer, TLS: trusted})
	if err != nil {
		return nil, fmt.Errorf("--whip, --whep: %w", err)
	}
	return door, nil
}
