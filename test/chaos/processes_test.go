//go:build linux && !race

package chaos

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/wardline/wardline/core/observe/observetest"
	"github.com/wardline/wardline/test/e2e/devtest"
)

// startAgain is how long a process that ended by itself stays away: Nomad's restart blocks have it so.
const startAgain = time.Second

// process is a server that is broken, and started again under the same name and ports.
type process struct {
	name  string
	ready string // URL that answers 200 once it serves
	path  string
	args  []string

	log observetest.Text

	mu     sync.Mutex
	wanted bool // whether it is started again when it ends
	cmd    *exec.Cmd
	done   chan struct{}
}

// start runs the process until it is told to end.
func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wanted {
		return nil
	}
	p.wanted = true
	return p.run()
}

func (p *process) run() error {
	cmd := exec.CommandContext(context.Background(), p.path, p.args...)
	cmd.Env = devtest.Environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stdout, cmd.Stderr = io.Discard, &p.log
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	p.cmd, p.done = cmd, done
	go func() {
		err := cmd.Wait()
		_, _ = fmt.Fprintf(&p.log, "--- %s ended: %v\n", p.name, err)
		close(done)
		time.Sleep(startAgain)
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.wanted && p.done == done {
			_ = p.run()
		}
	}()
	return nil
}

// signal sends one to the running process.
func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.cmd.Process.Signal(s)
}

// end has the process end by a signal, and waits until it has.
func (p *process) end(by syscall.Signal, within time.Duration) error {
	p.mu.Lock()
	p.wanted = false
	done := p.done
	p.mu.Unlock()
	p.signal(syscall.SIGCONT)
	p.signal(by)
	select {
	case <-done:
		return nil
	case <-time.After(within):
		p.signal(syscall.SIGABRT) // has it say where its goroutines are
		<-done
		return fmt.Errorf("%s did not stop within %s", p.name, within)
	}
}

// serves says whether the process says that it is ready.
func (p *process) serves(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.ready, http.NoBody)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}
