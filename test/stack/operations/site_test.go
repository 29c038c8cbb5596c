package operations

import "slices"

// computer is one bare machine of the page: the addresses are the page's own, on a network nobody else sees.
type computer struct{ name, addr string }

// computers are the terminals of the page, which calls the operator's own computer "here".
func computers() []computer {
	return []computer{
		{"here", "10.1.0.5"},
		{"east-server", "10.1.0.10"},
		{"east-gateway-1", "10.1.0.21"},
		{"east-media-1", "10.1.0.31"},
		{"east-media-2", "10.1.0.32"},
		{"east-relay-1", "10.1.0.41"},
		{"west-server", "10.2.0.10"},
	}
}

// cable is the name of the switch's end of the machine's cable.
func (c computer) cable() string { return "cable" + c.addr[len("10."):] }

// find is the machine of that name.
func find(name string) computer {
	return computers()[slices.Index(terminals(), name)]
}

func terminals() []string {
	names := make([]string, 0, len(computers()))
	for _, c := range computers() {
		names = append(names, c.name)
	}
	return names
}
