package access

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// Matrix renders the permission matrix as a text table, an action a line and a role a column.
func Matrix() string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "action")
	for _, role := range Roles() {
		fmt.Fprintf(table, "\t%s", role)
	}
	fmt.Fprintln(table)
	for _, action := range Actions() {
		fmt.Fprint(table, action)
		for _, role := range Roles() {
			fmt.Fprintf(table, "\t%s", mark(Can(role, action)))
		}
		fmt.Fprintln(table)
	}
	table.Flush() //nolint:errcheck // a strings.Builder takes everything
	return text.String()
}

func mark(allowed bool) string {
	if allowed {
		return "yes"
	}
	return "-"
}

// roleNames lists the roles for error messages.
func roleNames() string {
	names := make([]string, 0, len(matrix))
	for _, role := range Roles() {
		names = append(names, string(role))
	}
	return strings.Join(names, ", ")
}
