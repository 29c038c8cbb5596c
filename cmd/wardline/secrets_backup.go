package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/spf13/cobra"

	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/secrets/snapshot"
)

// backupOptions are the flags of "wardline secrets backup".
type backupOptions struct {
	out, dir string
	keep     int
	job      jobLogin
}

func newSecretsBackup(vault *operatorVault) *cobra.Command {
	var o backupOptions
	cmd := &cobra.Command{
		Use:   "backup --out FILE | --dir FOLDER",
		Short: "Take a snapshot of all that a region's Vault keeps",
		Long: `Take a snapshot of all that a region's Vault keeps, while it serves. The file is checked before it
appears under its name, and is sealed as Vault's storage is: it is of use only together with the
unseal keys of the time, and with them it is every key of the region. Keep the two apart.

With --dir each snapshot has the time in its name, and those beyond --keep are removed, oldest
first: that is how the job "backup" runs it.`,
		Example: `  wardline secrets backup --out east.snap
  wardline secrets backup --dir /var/backups/vault --keep 30`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.out == "" && o.dir == "" {
				return errors.New("--out, --dir: must not be empty")
			}
			if o.keep < 1 {
				return fmt.Errorf("--keep %d: must be at least 1", o.keep)
			}
			return o.job.keeper(vault, cmd, func(_ secrets.VaultConfig, keeper *secrets.Vault) error {
				return o.backup(cmd, keeper.Client())
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.out, "out", "", "file to write; one that exists is replaced once the snapshot is complete")
	f.StringVar(&o.dir, "dir", "", "folder to write a file named after the time to")
	f.IntVar(&o.keep, "keep", 14, "with --dir: how many snapshots stay in the folder, the newest")
	cmd.MarkFlagsOneRequired("out", "dir")
	cmd.MarkFlagsMutuallyExclusive("out", "dir")
	o.job.bind(cmd, secrets.BackupRole)
	return cmd
}

func (o *backupOptions) backup(cmd *cobra.Command, client *api.Client) error {
	path := o.out
	if o.dir != "" {
		if err := os.MkdirAll(o.dir, 0o700); err != nil {
			return fmt.Errorf("--dir: %w", err)
		}
		path = filepath.Join(o.dir, snapshot.FileName(time.Now()))
	}
	begun := time.Now()
	info, err := snapshot.Take(cmd.Context(), client, path, snapshot.Options{Progress: progress(cmd.ErrOrStderr(), "received")})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "wrote %s: %s, up to entry %d, in %s\n",
		path, size(info.Bytes), info.Index, time.Since(begun).Round(time.Millisecond))
	if err != nil || o.dir == "" {
		return err
	}
	removed, err := snapshot.Prune(o.dir, o.keep, time.Now())
	for _, name := range removed {
		_, writeErr := fmt.Fprintf(cmd.OutOrStdout(), "removed %s: more than %d are there\n", name, o.keep)
		err = errors.Join(err, writeErr)
	}
	return err
}

// restoreOptions are the flags of "wardline secrets restore".
type restoreOptions struct{ yes, force, dryRun bool }

func newSecretsRestore(vault *operatorVault) *cobra.Command {
	var o restoreOptions
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Replace all that a region's Vault keeps by a snapshot",
		Long: `Replace all that a region's Vault keeps by a snapshot. What was made after it is lost, and what was
rotated, revoked or retired after it is good again: docs/vault.md says what to do then.

It needs a break-glass token. A new Vault, initialized in place of one that is gone, has other unseal
keys than the snapshot: give --force. It is sealed afterwards and opens with the unseal keys of the
time of the snapshot; its own are of no use any more.`,
		Example: `  wardline secrets restore east.snap --dry-run
  wardline secrets restore east.snap --yes --force`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.dryRun {
				info, err := snapshot.CheckFile(args[0])
				if err != nil {
					return failed(err)
				}
				return say(cmd.OutOrStdout(), "%s is whole: %s, up to entry %d", args[0], size(info.Bytes), info.Index)
			}
			if !o.yes {
				return errors.New("--yes: needed, since all that this Vault keeps is replaced; --dry-run only checks the file")
			}
			return vault.keeper(cmd, func(_ secrets.VaultConfig, keeper *secrets.Vault) error {
				return o.restore(cmd, keeper.Client(), args[0])
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.yes, "yes", false, "replace what is there")
	f.BoolVar(&o.force, "force", false, "also a snapshot that was taken under other unseal keys")
	f.BoolVar(&o.dryRun, "dry-run", false, "check the file, without a Vault, and change nothing")
	return cmd
}

func (o *restoreOptions) restore(cmd *cobra.Command, client *api.Client, path string) error {
	begun := time.Now()
	info, sealed, err := snapshot.Restore(cmd.Context(), client, path, snapshot.Options{
		Force: o.force, Progress: progress(cmd.ErrOrStderr(), "sent"),
	})
	if errors.Is(err, snapshot.ErrOtherKeys) {
		return fmt.Errorf("%w: give --force if this Vault is to become the one of the snapshot", err)
	}
	if err != nil {
		return err
	}
	then := "it goes on unsealed"
	if sealed {
		then = "it is sealed: unseal it with the unseal keys of the time of the snapshot"
	}
	return say(cmd.OutOrStdout(), "restored %s: %s, up to entry %d, in %s; %s",
		path, size(info.Bytes), info.Index, time.Since(begun).Round(time.Millisecond), then)
}

const (
	// progressEvery is how often a transfer says how far it is.
	progressEvery = 5 * time.Second
	mebibyte      = 1 << 20
)

// progress says now and then how much has passed.
func progress(w io.Writer, what string) func(bytes int64) {
	var mu sync.Mutex
	last := time.Now()
	return func(bytes int64) {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(last) < progressEvery {
			return
		}
		last = time.Now()
		_ = say(w, "%s %s", what, size(bytes)) // a progress that cannot be shown is no failure
	}
}

func size(bytes int64) string {
	if bytes < mebibyte {
		return fmt.Sprintf("%d KiB", (bytes+1023)/1024)
	}
	return fmt.Sprintf("%.1f MiB", float64(bytes)/mebibyte)
}

func say(w io.Writer, format string, args ...any) error {
	_, err := fmt.Fprintf(w, format+"\n", args...)
	return err
}
