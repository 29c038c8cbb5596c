// Command servers makes sure that servers are there, builds those that are missing, and prints their paths.
// Without arguments it does so for all.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/wardline/wardline/test/stack/servers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	names := os.Args[1:]
	if len(names) == 0 {
		names = servers.Names()
	}
	failed := false
	for _, name := range names {
		path, err := servers.Find(ctx, name)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			failed = true
			continue
		}
		fmt.Printf("%s\t%s\n", name, path)
	}
	if failed {
		defer os.Exit(1)
	}
}
