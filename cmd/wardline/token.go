package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/signaling"
)

// tokenOptions are the flags of "wardline token".
type tokenOptions struct {
	data        string
	tenant      string
	encounter   string
	participant string
	role        string
	name        string
	regions     []string
	e2ee        bool
	ttl         time.Duration
	format      string
	url         string
}

func newToken() *cobra.Command {
	var o tokenOptions
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Mint a join token or link, or print what roles may do",
		Long: `Mint a join token for one participant of one encounter, signed with the token key in --data.

It works beside a running "wardline dev" on the same folder: the encounter comes to life when the
first participant joins. A link carries its token in the fragment, which browsers never send.`,
		Example: `  wardline token --encounter visit-7 --role patient --participant p-1 --format link
  curl -H "Authorization: Bearer $(wardline token --encounter visit-7 --role provider --participant d-1)" ...`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return mintToken(cmd, o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.data, "data", defaultData, "folder with the keys, as given to wardline dev")
	f.StringVar(&o.tenant, "tenant", devTenant, "tenant the encounter belongs to")
	f.StringVar(&o.encounter, "encounter", "", "encounter id (required)")
	f.StringVar(&o.participant, "participant", "", "participant id, opaque: it appears in logs (required)")
	f.StringVar(&o.role, "role", "", "role: provider, patient, interpreter, family, supervisor or scribe (required)")
	f.StringVar(&o.name, "name", "", "name shown to the others; only ever inside the token")
	f.StringSliceVar(&o.regions, "region", nil, "region policy allows, home first; repeatable (default any)")
	f.BoolVar(&o.e2ee, "e2ee", false, "the encounter is end-to-end encrypted; the token joins no other")
	f.DurationVar(&o.ttl, "ttl", time.Hour, "how long the token is valid, at most "+access.MaxTokenTTL.String())
	f.StringVar(&o.format, "format", "token", "what to print: token, link or json")
	f.StringVar(&o.url, "url", "", "base URL of links, https://HOST[:PORT] (default: that of the dev running on --data)")
	for _, name := range []string{"encounter", "participant", "role"} {
		cobra.CheckErr(cmd.MarkFlagRequired(name))
	}
	cmd.AddCommand(newTokenRoles(), newTokenAPI())
	return cmd
}

// grant checks the flags and turns them into what the token will say.
func (o tokenOptions) grant(now time.Time) (access.Grant, error) {
	role, err := access.ParseRole(o.role)
	if err != nil {
		return access.Grant{}, fmt.Errorf("--role: %w", err)
	}
	for flag, value := range map[string]string{"tenant": o.tenant, "encounter": o.encounter, "participant": o.participant} {
		if err := checkID(flag, value); err != nil {
			return access.Grant{}, err
		}
	}
	if !access.ValidName(o.name) {
		return access.Grant{}, fmt.Errorf("--name: must be printable and at most %d bytes", access.MaxNameBytes)
	}
	if len(o.regions) > access.MaxRegions {
		return access.Grant{}, fmt.Errorf("--region: %d of them, at most %d", len(o.regions), access.MaxRegions)
	}
	for _, region := range o.regions {
		if err := checkID("region", region); err != nil {
			return access.Grant{}, err
		}
	}
	if err := checkTTL(o.ttl); err != nil {
		return access.Grant{}, err
	}
	switch o.format {
	case "token", "link", "json":
	default:
		return access.Grant{}, fmt.Errorf("--format %q: must be token, link or json", o.format)
	}
	return access.Grant{
		Tenant: o.tenant, Encounter: o.encounter, Participant: o.participant, Role: role,
		Name: o.name, Regions: o.regions, E2EE: o.e2ee, Expires: now.Add(o.ttl),
	}, nil
}

func checkID(flag, value string) error {
	if !signaling.ValidID(value) {
		return fmt.Errorf("--%s %q: 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit", flag, value)
	}
	return nil
}

func checkTTL(ttl time.Duration) error {
	if ttl <= 0 || ttl > access.MaxTokenTTL {
		return fmt.Errorf("--ttl %s: must be over 0 and at most %s", ttl, access.MaxTokenTTL)
	}
	return nil
}

func mintToken(cmd *cobra.Command, o tokenOptions) error {
	now := time.Now()
	grant, err := o.grant(now)
	if err != nil {
		return err
	}
	base := o.url
	if base != "" {
		if base, err = linkBase("--url", base); err != nil {
			return err
		}
	} else if o.format != "token" {
		base, err = runningURL(o.data, "--url")
		if err != nil && o.format == "link" {
			return err
		}
	}
	if _, err := os.Stat(secretsDir(o.data)); err != nil { // keys made here would sign what no gateway takes
		return fmt.Errorf("--data %s: holds no keys of a wardline dev or gateway: %w", o.data, err)
	}
	keeper, err := secrets.OpenLocal(secretsDir(o.data))
	if err != nil {
		return failed(err)
	}
	token, err := access.Mint(cmd.Context(), keeper, grant, now, now)
	if err != nil {
		return failed(err)
	}
	out := cmd.OutOrStdout()
	switch o.format {
	case "link":
		_, err = fmt.Fprintln(out, joinLink(base, token))
	case "json":
		described := map[string]any{
			"token": token, "tenant": o.tenant, "encounter": o.encounter,
			"participant": o.participant, "role": o.role, "expires": grant.Expires.UTC().Format(time.RFC3339),
		}
		if base != "" {
			described["link"] = joinLink(base, token)
		}
		err = json.NewEncoder(out).Encode(described)
	default:
		_, err = fmt.Fprintln(out, token)
	}
	return failed(err)
}

func newTokenRoles() *cobra.Command {
	return &cobra.Command{
		Use:   "roles",
		Short: "Print the permission matrix: what each role may do",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), access.Matrix())
			return failed(err)
		},
	}
}

func newTokenAPI() *cobra.Command {
	var app application
	var data string
	var ttl time.Duration
	cmd := &cobra.Command{
		Use:   "api",
		Short: "Mint an API token as a tenant, to try the /v1/encounters API",
		Long: `Mint an API token signed with a tenant's own key, by default that of the dev tenant, which wardline dev
made and registered. A tenant keeps its private key to itself: what is registered is the public half.`,
		Example: `  curl -k -H "Authorization: Bearer $(wardline token api)" \
    --json '{"participants":[{"role":"patient"}]}' https://127.0.0.1:8443/v1/encounters`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmp.Or(checkID("tenant", app.tenant), checkTTL(ttl)); err != nil {
				return err
			}
			key, keyID, err := app.key(data)
			if err != nil {
				return failed(err)
			}
			token, err := access.MintAPI(key, keyID, app.tenant, time.Now(), ttl)
			if err != nil {
				return failed(err)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
			return failed(err)
		},
	}
	app.bind(cmd.Flags())
	cmd.Flags().StringVar(&data, "data", defaultData, "folder with the keys, as given to wardline dev")
	cmd.Flags().DurationVar(&ttl, "ttl", time.Hour, "how long the token is valid, at most "+access.MaxTokenTTL.String())
	return cmd
}
