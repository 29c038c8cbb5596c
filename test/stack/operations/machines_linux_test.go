package operations

import (
	"embed"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/test/stack/deploy"
	"github.com/wardline/wardline/test/stack/machine"
	"github.com/wardline/wardline/test/stack/servers"
)

// standIns are the commands that the page uses and that machines made of namespaces cannot have: there is no systemd
// and no SSH server in them.
//
//go:embed standins/*
var standIns embed.FS

// storePort is where here, the operator's computer, keeps artifacts for the nodes.
const storePort = 8100

// private are the folders that each machine has for itself; everything else is this machine's own.
var private = []string{"/etc", "/opt", "/root", "/var/log", "/var/lib", "/srv", "/tmp"}

// site is the page's machines on one switch.
type site struct {
	dir    string
	bin    string
	lan    *machine.Machine
	hosts  map[string]*machine.Machine
	shells map[string]*terminal
	// transcript is what is typed and said in all terminals, in $WARDLINE_KEEP_LOGS, if that folder is named.
	transcript io.Writer
}

// build boots all machines of the page: bare but for the binaries.
func build(t *testing.T) *site {
	t.Helper()
	for _, tool := range []string{"curl", "jq", "openssl", "setpriv", "useradd"} {
		_, err := exec.LookPath(tool)
		require.NoError(t, err, "the page and its stand-ins need it: install it")
	}
	s := &site{dir: t.TempDir(), hosts: map[string]*machine.Machine{}, shells: map[string]*terminal{}}
	s.install(t)
	if to := os.Getenv("WARDLINE_KEEP_LOGS"); to != "" {
		file, err := os.Create(filepath.Join(to, "transcript.txt"))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, file.Close()) })
		s.transcript = file
	}
	var err error
	s.lan, err = machine.Boot(t.Context(), "switch")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.lan.Close()) })
	require.NoError(t, s.lan.IP(t.Context(), "link add lan type bridge", "link set lan up"))
	for _, c := range computers() {
		s.boot(t, c)
	}
	s.serveArtifacts(t)
	return s
}

// install fills the folder of binaries that every machine sees as /usr/local/bin.
func (s *site) install(t *testing.T) {
	t.Helper()
	s.bin = filepath.Join(s.dir, "bin")
	require.NoError(t, os.Mkdir(s.bin, 0o755))
	for _, name := range []string{"consul", "nomad", "vault"} {
		path, err := servers.Find(t.Context(), name)
		require.NoError(t, err)
		require.NoError(t, place(path, filepath.Join(s.bin, name)))
	}
	_, err := deploy.Build(t.Context(), s.bin)
	require.NoError(t, err)
	entries, err := standIns.ReadDir("standins")
	require.NoError(t, err)
	for _, entry := range entries {
		text, err := standIns.ReadFile("standins/" + entry.Name())
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(s.bin, entry.Name()), text, 0o755))
	}
}

// place links a program, or copies it where the folder is on another disk.
func place(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(target, source); err != nil {
		return fmt.Errorf("place %s: %w", to, err)
	}
	return target.Close()
}

// disk is a machine's own files, by the machine's address: the stand-in of scp finds them so, too.
func (s *site) disk(c computer) string { return filepath.Join(s.dir, "disks", c.addr) }

// boot starts a machine, connects it and gives it a disk of its own.
func (s *site) boot(t *testing.T, c computer) {
	t.Helper()
	m, err := machine.Boot(t.Context(), c.name)
	require.NoError(t, err)
	s.hosts[c.name] = m
	require.NoError(t, s.lan.IP(t.Context(),
		fmt.Sprintf("link add %s type veth peer name eth0 netns %d", c.cable(), m.PID()),
		fmt.Sprintf("link set %s master lan", c.cable()), fmt.Sprintf("link set %s up", c.cable())))
	require.NoError(t, m.WriteSysctl("net/ipv6/conf/eth0/disable_ipv6", "1"))
	require.NoError(t, m.IP(t.Context(), fmt.Sprintf("addr add %s/8 dev eth0", c.addr), "link set eth0 up"))
	for _, folder := range private {
		own := s.disk(c) + folder
		if _, err := os.Stat(own); err == nil {
			continue
		}
		mode := os.FileMode(0o755)
		if folder == "/tmp" {
			mode = 0o777 | os.ModeSticky
		}
		require.NoError(t, os.MkdirAll(own, 0o755))
		require.NoError(t, os.Chmod(own, mode))
		if folder == "/etc" {
			require.NoError(t, exec.CommandContext(t.Context(), "cp", "-a", "/etc/.", own).Run())
		}
	}
	// The last one hides the test's own folder, so everything that is needed of it goes first.
	script := `set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/disks && mount --bind "$1/disks" /run/disks
mount --bind "$1/bin" /usr/local/bin
shift
for folder in "$@"; do mount --bind "/run/disks/` + c.addr + `$folder" "$folder"; done`
	require.NoError(t, m.Run(t.Context(), "sh", append([]string{"-c", script, "sh", s.dir}, private...)...))
	shell := openTerminal(t, m)
	shell.transcript = s.transcript
	s.shells[c.name] = shell
	t.Cleanup(func() { // before the disk goes
		if t.Failed() {
			s.keepLogs(t, c)
		}
		require.NoError(t, m.Close())
		shell.wait()
	})
}

// powerOff ends a machine without a word to anybody: its cable goes first.
func (s *site) powerOff(t *testing.T, name string) {
	t.Helper()
	require.NoError(t, s.lan.IP(t.Context(), "link del "+find(name).cable()))
	require.NoError(t, s.hosts[name].PowerOff())
}

// powerOn boots a machine again, with its disk as it was. Its services start as systemd would start them.
func (s *site) powerOn(t *testing.T, name string) {
	t.Helper()
	s.boot(t, find(name))
	require.NoError(t, s.shells[name].run("systemctl default"))
}

// replace puts a new machine, with nothing on its disk, in the place of one that fails.
func (s *site) replace(t *testing.T, name string) {
	t.Helper()
	s.powerOff(t, name)
	require.NoError(t, os.RemoveAll(s.disk(find(name))))
	s.powerOn(t, name)
}

// keepLogs copies what services and tasks said to the folder $WARDLINE_KEEP_LOGS, if that is named.
func (s *site) keepLogs(t *testing.T, c computer) {
	t.Helper()
	to := os.Getenv("WARDLINE_KEEP_LOGS")
	services, _ := filepath.Glob(s.disk(c) + "/var/log/*.log")
	tasks, _ := filepath.Glob(s.disk(c) + "/opt/nomad/alloc/*/alloc/logs/[a-z]*.stderr.[0-9]*")
	for i, path := range append(services, tasks...) {
		text, err := os.ReadFile(path)
		if err == nil && to != "" {
			err = os.WriteFile(filepath.Join(to, fmt.Sprintf("%s-%d-%s", c.name, i, filepath.Base(path))), text, 0o600)
		}
		if err != nil {
			t.Logf("keep %s: %v", path, err)
		}
	}
}

// serveArtifacts is the store of the page's artifacts: PUT and GET.
func (s *site) serveArtifacts(t *testing.T) {
	t.Helper()
	store := t.TempDir()
	var listener net.Listener
	require.NoError(t, s.hosts["here"].InNetwork(func() (err error) {
		listener, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", fmt.Sprintf("%s:%d", computers()[0].addr, storePort))
		return err
	}))
	files := http.FileServer(http.Dir(store))
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut {
			files.ServeHTTP(w, r)
			return
		}
		if err := receive(r.Body, filepath.Join(store, filepath.Base(r.URL.Path))); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	t.Cleanup(func() { require.NoError(t, server.Close()); <-done })
}

func receive(body io.Reader, path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, body)
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}
