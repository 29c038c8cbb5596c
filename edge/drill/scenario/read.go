package scenario

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/gocty"
)

// reader turns attributes into values and collects what is wrong with them.
type reader struct {
	source      []byte
	diagnostics hcl.Diagnostics
}

// written is an expression as it is written in the file, without the quotes of a plain string.
func (r *reader) written(expression hcl.Expression) string {
	if expression == nil {
		return ""
	}
	return strings.Trim(string(expression.Range().SliceBytes(r.source)), `"`)
}

func (r *reader) complain(place hcl.Range, format string, args ...any) {
	r.diagnostics = append(r.diagnostics, &hcl.Diagnostic{
		Severity: hcl.DiagError, Summary: fmt.Sprintf(format, args...), Subject: &place,
	})
}

func (r *reader) name(name string, place hcl.Range, what string) string {
	if !names.MatchString(name) {
		r.complain(place, "%s %q: names have 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit", what, name)
	}
	return name
}

// value evaluates an attribute without variables; false if there is none or it is wrong.
func (r *reader) value(a *hcl.Attribute) (cty.Value, bool) {
	if a == nil {
		return cty.NilVal, false
	}
	value, diagnostics := a.Expr.Value(nil)
	r.diagnostics = append(r.diagnostics, diagnostics...)
	if diagnostics.HasErrors() {
		return cty.NilVal, false
	}
	if value.IsNull() || !value.IsWhollyKnown() {
		r.complain(a.Expr.Range(), "%s: must have a value", a.Name)
		return cty.NilVal, false
	}
	return value, true
}

// asString reads a known string.
func asString(value cty.Value) (string, bool) {
	if value.IsMarked() || value.Type() != cty.String || value.IsNull() || !value.IsKnown() {
		return "", false
	}
	return value.AsString(), true
}

func (r *reader) text(a *hcl.Attribute, otherwise string) string {
	value, ok := r.value(a)
	if !ok {
		return otherwise
	}
	text, ok := asString(value)
	if !ok {
		r.complain(a.Expr.Range(), "%s is a %s: must be a string", a.Name, value.Type().FriendlyName())
		return otherwise
	}
	return text
}

func (r *reader) duration(a *hcl.Attribute, otherwise time.Duration) time.Duration {
	text := r.text(a, "")
	if a == nil || text == "" && r.diagnostics.HasErrors() {
		return otherwise
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > maxDuration {
		r.complain(a.Expr.Range(), "%s = %q: must be a duration from 0s to %s, such as 300ms or 10s", a.Name, text, maxDuration)
		return otherwise
	}
	return d
}

func (r *reader) optionalDuration(a *hcl.Attribute, otherwise *time.Duration) *time.Duration {
	if a == nil {
		return otherwise
	}
	d := r.duration(a, 0)
	return &d
}

func (r *reader) oneOf(a *hcl.Attribute, otherwise string, allowed ...string) string {
	text := r.text(a, otherwise)
	if a != nil && !slices.Contains(allowed, text) {
		r.complain(a.Expr.Range(), "%s = %q: must be one of %s", a.Name, text, strings.Join(allowed, ", "))
		return otherwise
	}
	return text
}

func (r *reader) integer(a *hcl.Attribute, otherwise, low, high int) int {
	value, ok := r.value(a)
	if !ok {
		return otherwise
	}
	var n int
	if err := gocty.FromCtyValue(value, &n); err != nil || value.Type() != cty.Number || n < low || n > high {
		r.complain(a.Expr.Range(), "%s: must be a whole number from %d to %d", a.Name, low, high)
		return otherwise
	}
	return n
}

func (r *reader) boolean(a *hcl.Attribute) bool {
	value, ok := r.value(a)
	if !ok {
		return false
	}
	if value.IsMarked() || value.Type() != cty.Bool {
		r.complain(a.Expr.Range(), "%s is a %s: must be true or false", a.Name, value.Type().FriendlyName())
		return false
	}
	return value.True()
}

// list reads names without repetition.
func (r *reader) list(a *hcl.Attribute) []string {
	value, ok := r.value(a)
	if !ok {
		return nil
	}
	if value.IsMarked() || !value.Type().IsTupleType() {
		r.complain(a.Expr.Range(), "%s: must be a list of names", a.Name)
		return nil
	}
	list := make([]string, 0, value.LengthInt())
	for _, element := range value.AsValueSlice() {
		text, ok := asString(element)
		if !ok || !names.MatchString(text) || slices.Contains(list, text) {
			r.complain(a.Expr.Range(), "%s: must be a list of names, each once", a.Name)
			return nil
		}
		list = append(list, text)
	}
	return list
}

// numbers reads whole numbers by name.
func (r *reader) numbers(a *hcl.Attribute, high int) map[string]int {
	value, ok := r.value(a)
	if !ok {
		return nil
	}
	if value.IsMarked() || !value.Type().IsObjectType() {
		r.complain(a.Expr.Range(), "%s: must be numbers by name, such as { east = 5, west = 40 }", a.Name)
		return nil
	}
	numbers := map[string]int{}
	for name, each := range value.AsValueMap() {
		var n int
		if !names.MatchString(name) || each.Type() != cty.Number || gocty.FromCtyValue(each, &n) != nil || n < 0 || n > high {
			r.complain(a.Expr.Range(), "%s of %q: must be a whole number from 0 to %d", a.Name, name, high)
			continue
		}
		numbers[name] = n
	}
	return numbers
}
