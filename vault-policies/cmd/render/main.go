// Command render writes the policies in policies/ from the table. Run it by go generate ./vault-policies.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	vaultpolicies "github.com/wardline/wardline/vault-policies"
)

func main() {
	for _, component := range vaultpolicies.Components() {
		path := filepath.Join("policies", string(component)+".hcl")
		text := vaultpolicies.Render(component, vaultpolicies.Table())
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil { //nolint:gosec // G306: policies are public
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}
