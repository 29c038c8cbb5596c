//go:build linux

package stack

import (
	"context"
	"fmt"
	"slices"

	"github.com/wardline/wardline/test/stack/plan"
	vaultpolicies "github.com/wardline/wardline/vault-policies"
)

// mistaken is a policy that allows nothing. An empty one is no policy to Vault.
const mistaken = `path "nothing" { capabilities = ["deny"] }`

// Deny is a policy mistake: the Vaults of a target, a server or its region, refuse everything to a component of Wardline, or to
// all of them if component is empty, until Allow.
func (w *World) Deny(ctx context.Context, target, component string) error {
	denied := vaultpolicies.Workloads()
	if component != "" {
		if !slices.Contains(denied, vaultpolicies.Component(component)) {
			return fmt.Errorf("%w: component %q: must be one of %v", plan.ErrInvalid, component, denied)
		}
		denied = []vaultpolicies.Component{vaultpolicies.Component(component)}
	}
	return w.onVaults(target, func(n *node) error {
		n.denies = true
		for _, c := range denied {
			if err := w.putPolicy(ctx, n, c, mistaken); err != nil {
				return err
			}
		}
		return nil
	})
}

// Allow undoes Deny.
func (w *World) Allow(ctx context.Context, target string) error {
	return w.onVaults(target, func(n *node) error { return w.allow(ctx, n) })
}

// allow gives a node's Vault its policies back, if they were taken.
func (w *World) allow(ctx context.Context, n *node) error {
	if !n.denies {
		return nil
	}
	for _, c := range vaultpolicies.Workloads() {
		policy, err := vaultpolicies.Policy(c)
		if err != nil {
			return err
		}
		if err := w.putPolicy(ctx, n, c, policy); err != nil {
			return err
		}
	}
	n.denies = false
	return nil
}

func (w *World) putPolicy(ctx context.Context, n *node, c vaultpolicies.Component, policy string) error {
	err := w.localVault(n).Put(ctx, "/v1/sys/policies/acl/"+c.PolicyName(), map[string]string{"policy": policy}, nil)
	if err != nil {
		return fmt.Errorf("policy of %s in %s: %w", c, n.Region, err)
	}
	return nil
}
