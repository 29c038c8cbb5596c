package vaultpolicies

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/hashicorp/vault/api"
)

// mounts compares and sets up secrets engines and auth methods.
func (a *Applier) mounts(ctx context.Context, wanted []mount) error {
	engines, err := a.Client.Sys().ListMountsWithContext(ctx)
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	logins, err := a.Client.Sys().ListAuthWithContext(ctx)
	if err != nil {
		return fmt.Errorf("list auth methods: %w", err)
	}
	for _, mount := range wanted {
		current := engines[mount.path+"/"]
		if mount.login {
			current = logins[mount.path+"/"]
		}
		if err := a.mount(ctx, mount, current); err != nil {
			return err
		}
	}
	return nil
}

func (a *Applier) mount(ctx context.Context, wanted mount, current *api.MountOutput) error {
	change := Change{Action: Unchanged, Kind: "mount", Name: wanted.path}
	if wanted.login {
		change.Kind = "auth"
	}
	if current == nil {
		change.Action = Create
		a.fresh = append(a.fresh, wanted.fullPath())
		return a.note(change, func() error { return a.makeMount(ctx, wanted) })
	}
	var differing []string
	if current.Description != wanted.description {
		differing = append(differing, "description")
	}
	if wanted.maxLease > 0 && int64(current.Config.MaxLeaseTTL) != wanted.maxLease {
		differing = append(differing, "max_lease_ttl")
	}
	switch {
	case current.Type != wanted.kind:
		change.Action, change.Detail = Conflict, fmt.Sprintf("type is %s, must be %s", current.Type, wanted.kind)
	case len(wanted.options) > 0 && !maps.Equal(wanted.options, current.Options):
		change.Action, change.Detail = Conflict, "options differ"
	case len(differing) > 0:
		change.Action, change.Detail = Update, strings.Join(differing, ", ")
	}
	return a.note(change, func() error { return a.tuneMount(ctx, wanted) })
}

func (a *Applier) makeMount(ctx context.Context, wanted mount) error {
	input := &api.MountInput{
		Type: wanted.kind, Description: wanted.description, Options: wanted.options, Config: wanted.config(),
	}
	if wanted.login {
		return a.Client.Sys().EnableAuthWithOptionsWithContext(ctx, wanted.path, input)
	}
	return a.Client.Sys().MountWithContext(ctx, wanted.path, input)
}

func (a *Applier) tuneMount(ctx context.Context, wanted mount) error {
	body := map[string]any{"description": wanted.description}
	if wanted.maxLease > 0 {
		body["max_lease_ttl"] = fmt.Sprintf("%ds", wanted.maxLease)
	}
	_, err := a.Client.Logical().WriteWithContext(ctx, "sys/mounts/"+wanted.fullPath()+"/tune", body)
	return err
}

// fullPath is where its paths begin.
func (m mount) fullPath() string {
	if m.login {
		return "auth/" + m.path
	}
	return m.path
}

func (m mount) config() api.MountConfigInput {
	if m.maxLease == 0 {
		return api.MountConfigInput{}
	}
	return api.MountConfigInput{MaxLeaseTTL: fmt.Sprintf("%ds", m.maxLease)}
}
