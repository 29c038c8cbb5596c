package main

import (
	"context"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/wardline/wardline/core/jwks"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/edge/gateway"
)

func jwksPath(data string) string { return filepath.Join(data, "jwks.json") }

// regionalKeeper is the keeper of one region with the public keys of all.
type regionalKeeper struct {
	secrets.Keeper
	union *jwks.Union
}

// PublicKeys implements secrets.Keeper.
func (k regionalKeeper) PublicKeys(ctx context.Context) ([]secrets.PublicKey, error) {
	return k.union.PublicKeys(ctx)
}

// keeperOfAllRegions is the process's keeper, which with a Vault in each region knows only its own region's keys: what
// other regions signed is verified with those that their gateways publish.
func (p *process) keeperOfAllRegions(ctx context.Context, group *errgroup.Group) gateway.Keeper {
	if p.vault == nil || p.consul == nil {
		return p.keeper
	}
	union := jwks.Open(jwks.Config{
		Region: p.options.region, Keeper: p.keeper, Regions: p.consul.Regions, File: jwksPath(p.options.data), Log: p.log,
		KV: func(region string) jwks.KV { return p.consul.KV(region) }, Ready: p.vault.Ready,
	})
	group.Go(func() error { union.Run(ctx); return nil })
	return regionalKeeper{p.keeper, union}
}

// listenInternal binds where gateways of other regions ask for what only this region's Vault has.
func (p *process) listenInternal(ctx context.Context, address string, certificates secrets.CertificateSource) (*gateway.Internal, error) {
	if p.vault == nil {
		return nil, nil
	}
	listener, err := listen(ctx, "--internal", address)
	if err != nil {
		return nil, err
	}
	return &gateway.Internal{
		Listener: listener, Server: certificates.Server(secrets.GatewayRole), Client: certificates.Client(secrets.GatewayRole),
	}, nil
}
