package vaultpolicies

//go:generate go run ./cmd/render
