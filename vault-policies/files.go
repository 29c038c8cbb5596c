package vaultpolicies

import (
	"encoding/json"
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// state is what a Vault is to have, as the files say it.
type state struct {
	mounts  []mount
	objects []object
	shared  []string
}

// mount is a secrets engine, or an auth method if login is set.
type mount struct {
	path, kind, description string
	options                 map[string]string
	maxLease                int64 // seconds, 0 means Vault's default
	login                   bool
}

// object is something written to a path. fixed is what it is made with and cannot be changed later.
type object struct {
	path        string
	data, fixed map[string]any
}

var fileSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
	{Type: "locals"},
	{Type: "mount", LabelNames: []string{"path"}},
	{Type: "auth", LabelNames: []string{"path"}},
	{Type: "object", LabelNames: []string{"path"}},
	{Type: "shared", LabelNames: []string{"name"}},
}}

// load reads the files with the settings put in.
func load(settings Settings) (*state, error) {
	s := &state{}
	parser := hclparse.NewParser()
	for _, name := range []string{"mounts.hcl", "keys.hcl", "pki.hcl", "jwt.hcl"} {
		source, err := files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		file, diagnostics := parser.ParseHCL(source, name)
		if diagnostics.HasErrors() {
			return nil, diagnostics
		}
		if err := s.add(file.Body, settings); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *state) add(body hcl.Body, settings Settings) error {
	content, diagnostics := body.Content(fileSchema)
	if diagnostics.HasErrors() {
		return diagnostics
	}
	scope := &hcl.EvalContext{
		Variables: map[string]cty.Value{"var": cty.ObjectVal(settings.values())},
		Functions: map[string]function.Function{"merge": stdlib.MergeFunc, "concat": stdlib.ConcatFunc},
	}
	locals := map[string]cty.Value{}
	for _, block := range content.Blocks.OfType("locals") {
		values, err := attributes(block.Body, scope)
		if err != nil {
			return err
		}
		for name, value := range values {
			locals[name] = value
		}
	}
	scope.Variables["local"] = cty.ObjectVal(locals)
	for _, block := range content.Blocks {
		if block.Type == "locals" {
			continue
		}
		values, err := attributes(block.Body, scope)
		if err == nil {
			err = s.addBlock(block, values)
		}
		if err != nil {
			return fmt.Errorf("%s: %s %q: %w", block.DefRange, block.Type, block.Labels[0], err)
		}
	}
	return nil
}

func attributes(body hcl.Body, scope *hcl.EvalContext) (map[string]cty.Value, error) {
	found, diagnostics := body.JustAttributes()
	if diagnostics.HasErrors() {
		return nil, diagnostics
	}
	values := make(map[string]cty.Value, len(found))
	for name, attribute := range found {
		value, diagnostics := attribute.Expr.Value(scope)
		if diagnostics.HasErrors() {
			return nil, diagnostics
		}
		values[name] = value
	}
	return values, nil
}

func (s *state) addBlock(block *hcl.Block, values map[string]cty.Value) error {
	label := block.Labels[0]
	var decoded struct {
		Type        string            `json:"type"`
		Description string            `json:"description"`
		Options     map[string]string `json:"options"`
		MaxLease    int64             `json:"max_lease_ttl"`
		Data        map[string]any    `json:"data"`
		Fixed       map[string]any    `json:"fixed"`
	}
	if len(values) > 0 {
		// HCL's own way to JSON, so that both sides of a comparison are JSON.
		object := cty.ObjectVal(values)
		text, err := ctyjson.Marshal(object, object.Type())
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, &decoded); err != nil {
			return err
		}
	}
	switch block.Type {
	case "mount", "auth":
		s.mounts = append(s.mounts, mount{
			path: label, kind: decoded.Type, description: decoded.Description,
			options: decoded.Options, maxLease: decoded.MaxLease, login: block.Type == "auth",
		})
	case "object":
		s.objects = append(s.objects, object{path: label, data: decoded.Data, fixed: decoded.Fixed})
	case "shared":
		s.shared = append(s.shared, label)
	}
	return nil
}
