//go:build linux

// Package machine makes small computers out of Linux namespaces: each has its own network, processes,
// mounts and host name. The kernel takes everything a machine held away with its first process, and that
// one dies with whoever booted it, so nothing is left behind even after a crash.
package machine

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrPrivileges says that this process may not make namespaces.
var ErrPrivileges = errors.New("machines need root, or a user namespace: unshare -Urnm COMMAND")

// ErrOff says that the machine is not running.
var ErrOff = errors.New("machine is off")

// boot gives the machine its own /proc, /sys (without control groups, which would outlive it) and loopback.
// In a user namespace the host's mounts cannot be undone, so the machine gets a root without them there.
// The shell then waits for ever: as the first process it must collect orphans, and sh does.
const boot = `mount --make-rprivate / && mount -t proc proc /proc || exit 1
umount -R -l /sys 2>/dev/null; mount -t sysfs sysfs /sys
if grep -q ' /sys/fs/cgroup' /proc/self/mountinfo; then
  mount -t tmpfs tmpfs /mnt && for entry in /*; do
    if [ -L "$entry" ]; then cp -P "$entry" /mnt
    elif [ "$entry" = /mnt ] || [ ! -d "$entry" ]; then mkdir -p /mnt/mnt
    else mkdir "/mnt$entry" && mount --rbind "$entry" "/mnt$entry"; fi
  done
  cd /mnt && pivot_root . mnt && cd / && umount -l /mnt || exit 1
fi
hostname "$0" 2>/dev/null; ip link set lo up || exit 1
echo up; exec >/dev/null 2>&1
while :; do sleep 86400; done`

// all is what a process of the machine does not share with the host.
const all = unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS

// Machine is one running machine. Its methods may be called concurrently.
type Machine struct {
	name  string
	pid   int
	pidfd int
	pidNS string
	off   chan struct{}
}

// Boot starts a machine without any network but loopback.
func Boot(ctx context.Context, name string) (*Machine, error) {
	if os.Geteuid() != 0 {
		return nil, ErrPrivileges
	}
	m := &Machine{name: name, pidfd: -1, off: make(chan struct{})}
	started := make(chan error, 1)
	go m.live(started)
	select {
	case err := <-started:
		if err != nil {
			<-m.off
			m.forget()
			return nil, fmt.Errorf("boot %s: %w", name, err)
		}
		return m, nil
	case <-ctx.Done():
		go func() { // the boot ends soon, one way or the other
			if <-started == nil {
				_ = m.Close()
			}
		}()
		return nil, fmt.Errorf("boot %s: %w", name, context.Cause(ctx))
	}
}

// live runs the first process on a thread of its own, since the kernel ends it with the thread that made it.
func (m *Machine) live(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(m.off)
	var stderr bytes.Buffer
	cmd := exec.Command("/bin/sh", "-c", boot, m.name) //nolint:noctx,gosec // PowerOff ends it, not a context; a fixed script
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: all, Pdeathsig: syscall.SIGKILL, Setsid: true}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		started <- err
		return
	}
	if err := cmd.Start(); err != nil {
		if errors.Is(err, syscall.EPERM) {
			err = fmt.Errorf("%w: %w", ErrPrivileges, err)
		}
		started <- err
		return
	}
	m.pid = cmd.Process.Pid
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err == nil && strings.TrimSpace(line) == "up" {
		err = m.remember()
	} else {
		err = errors.New("the first process did not come up")
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		started <- fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
		return
	}
	started <- nil
	_ = cmd.Wait()
}

// remember takes hold of the namespaces, so that a process id used again is never mistaken for the machine.
func (m *Machine) remember() (err error) {
	if m.pidfd, err = unix.PidfdOpen(m.pid, 0); err != nil {
		return fmt.Errorf("open the first process: %w", err)
	}
	m.pidNS, err = os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", m.pid))
	if err != nil {
		return fmt.Errorf("read the process namespace: %w", err)
	}
	return nil
}

func (m *Machine) forget() {
	if m.pidfd >= 0 {
		_ = unix.Close(m.pidfd)
		m.pidfd = -1
	}
}

// Name is the machine's host name.
func (m *Machine) Name() string { return m.name }

// PID is the machine's first process as the host sees it.
func (m *Machine) PID() int { return m.pid }

// Running says whether the machine is on.
func (m *Machine) Running() bool {
	select {
	case <-m.off:
		return false
	default:
		return true
	}
}

// PowerOff ends every process of the machine at once, without a word to anybody, and waits until they are
// gone. Powering off again does nothing.
func (m *Machine) PowerOff() error {
	if m.Running() {
		if err := unix.PidfdSendSignal(m.pidfd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("power off %s: %w", m.name, err)
		}
		<-m.off
	}
	return nil
}

// Close powers the machine off and gives back what it held here. Nothing may be called after.
func (m *Machine) Close() error {
	err := m.PowerOff()
	m.forget()
	return err
}

// on runs do on a thread that entered the given namespaces. The thread ends with do, as it cannot return.
func (m *Machine) on(namespaces int, do func() error) error {
	if !m.Running() {
		return fmt.Errorf("%s: %w", m.name, ErrOff)
	}
	result := make(chan error, 1)
	go onLesserThread(func() {
		if namespaces&unix.CLONE_NEWNS != 0 {
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				result <- fmt.Errorf("leave the host's file system: %w", err)
				return
			}
		}
		if err := unix.Setns(m.pidfd, namespaces); err != nil {
			result <- fmt.Errorf("enter %s: %w", m.name, err)
			return
		}
		result <- do()
	})
	return <-result
}

// onLesserThread runs do on a thread that ends with it. The first thread of a process would stay, and be what /proc shows as the process.
func onLesserThread(do func()) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		do()
		return
	}
	defer runtime.UnlockOSThread()
	done := make(chan struct{})
	go func() {
		defer close(done)
		onLesserThread(do)
	}()
	<-done
}

// Start starts a command inside the machine. The caller must be waiting for it while the machine is powered
// off: the kernel keeps a machine's first process until all others have been waited for.
func (m *Machine) Start(cmd *exec.Cmd) error { return m.on(all, cmd.Start) }

// StartBehind starts a command like Start, at the priority that processes have by default: behind this one, where it is Ahead.
func (m *Machine) StartBehind(cmd *exec.Cmd) error {
	return m.on(all, func() error {
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 0) // of this thread, which the command gets it from and which ends with this
		return cmd.Start()
	})
}

// Ahead gives this process and what it starts precedence: on machines that share processors, media must not wait for the
// agents of all others. Who is not root does without.
func Ahead() {
	threads, _ := os.ReadDir("/proc/self/task")
	for _, thread := range threads { // new ones take after those who make them
		if id, err := strconv.Atoi(thread.Name()); err == nil {
			_ = unix.Setpriority(unix.PRIO_PROCESS, id, ahead)
		}
	}
}

// ahead is a nice value, see sched(7).
const ahead = -5

// Run runs a command inside the machine to its end; an error carries what it said.
func (m *Machine) Run(ctx context.Context, name string, args ...string) error {
	return run(exec.CommandContext(ctx, name, args...), m.Start) //nolint:gosec // running commands is its purpose
}

// IP runs lines of ip(8) in the machine's network, with process ids as the host sees them.
func (m *Machine) IP(ctx context.Context, lines ...string) error {
	return run(batch(ctx, lines), func(cmd *exec.Cmd) error { return m.on(unix.CLONE_NEWNET, cmd.Start) })
}

// HostIP runs lines of ip(8) in this process's own network.
func HostIP(ctx context.Context, lines ...string) error {
	return run(batch(ctx, lines), (*exec.Cmd).Start)
}

func batch(ctx context.Context, lines []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	return cmd
}

func run(cmd *exec.Cmd, start func(*exec.Cmd) error) error {
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	err := start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(output.String()))
	}
	return nil
}

// InNetwork runs do on a thread inside the machine's network: sockets it opens there stay there.
func (m *Machine) InNetwork(do func() error) error { return m.on(unix.CLONE_NEWNET, do) }

// Dial connects from inside the machine to a literal address.
func (m *Machine) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = m.InNetwork(func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Process is one process inside a machine.
type Process struct {
	PID int
	// Command is the short name the kernel keeps.
	Command string
	// Task is the Nomad task the process belongs to, if any.
	Task string
}

// Processes lists what runs in the machine, its first process and that one's sleep aside.
func (m *Machine) Processes() ([]Process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var found []Process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == m.pid || parent(pid) == m.pid && command(pid) == "sleep" {
			continue
		}
		if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid)); err != nil || ns != m.pidNS {
			continue // another machine's, or gone meanwhile
		}
		found = append(found, Process{PID: pid, Command: command(pid), Task: task(pid)})
	}
	return found, nil
}

func command(pid int) string {
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(name))
}

// parent reads the fourth field of stat(5), counted from behind the command, which may hold anything.
func parent(pid int) int {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	ppid, _ := strconv.Atoi(fields[1])
	return ppid
}

func task(pid int) string {
	environ, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	for variable := range strings.SplitSeq(string(environ), "\x00") {
		if name, ok := strings.CutPrefix(variable, "NOMAD_TASK_NAME="); ok {
			return name
		}
	}
	return ""
}

// Signal sends a signal to a process of the machine; one that is gone already is no error.
func (m *Machine) Signal(p Process, signal syscall.Signal) error {
	if err := syscall.Kill(p.PID, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal %s on %s: %w", p.Command, m.name, err)
	}
	return nil
}

// WriteSysctl sets a kernel parameter of the machine's network, such as net/ipv4/ip_forward.
func (m *Machine) WriteSysctl(key, value string) error {
	return m.InNetwork(func() error {
		file, err := os.OpenFile("/proc/sys/"+key, os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("kernel parameter %s on %s: %w", key, m.name, err)
		}
		_, err = file.WriteString(value)
		return errors.Join(err, file.Close())
	})
}
