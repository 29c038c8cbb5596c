//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/wardline/wardline/edge/load"
	"github.com/wardline/wardline/edge/udp"
)

// floor is what no media server can be below on this machine: a process that has nothing to receive and nothing to decide. It
// seals what each row's subscribers would get and sends it, in the same bursts, through the same sockets.
const floor = "floor"

// What a publisher sends, as the generator's do: each picture at once, and voice.
const (
	frameEvery, audioEvery = time.Second / 30, 20 * time.Millisecond
	videoPayload           = 1100
	audioPayload           = 80
)

// measureFloor runs the sender on the server's processor and the receivers on the generator's.
func (w *world) measureFloor(ctx context.Context, r row) (load.Report, error) {
	self, err := os.Executable()
	if err != nil {
		return load.Report{}, err
	}
	on := func(cpu int, args ...string) *exec.Cmd {
		return exec.CommandContext(ctx, "taskset", append([]string{"-c", strconv.Itoa(cpu), self, floor}, args...)...)
	}
	receivers := on(w.generatorCPU, "receive", strconv.Itoa(max(r.subscribers, r.publishers)))
	done, err := receivers.StdinPipe() // its end ends them
	if err != nil {
		return load.Report{}, err
	}
	addresses, err := receivers.StdoutPipe()
	if err != nil {
		return load.Report{}, err
	}
	if err := receivers.Start(); err != nil {
		return load.Report{}, err
	}
	defer func() {
		_ = done.Close()
		_ = receivers.Wait()
	}()
	line, err := bufio.NewReader(addresses).ReadString('\n')
	if err != nil {
		return load.Report{}, fmt.Errorf("receivers: %w", err)
	}
	out, err := on(w.serverCPU, append([]string{"send", r.name, w.duration.String()}, strings.Fields(line)...)...).Output()
	if err != nil {
		return load.Report{}, err
	}
	var report load.Report
	err = json.Unmarshal(out, &report)
	return report, err
}

// floorCommands are the two processes that the floor is measured with.
func floorCommands() *cobra.Command {
	cmd := &cobra.Command{Use: floor, Hidden: true}
	cmd.AddCommand(&cobra.Command{
		Use: "receive COUNT", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return floorReceive(args[0]) },
	}, &cobra.Command{
		Use: "send ROW DURATION ADDRESS...", Args: cobra.MinimumNArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			return floorSend(cmd.Context(), args[0], args[1], args[2:])
		},
	})
	return cmd
}

// floorReceive reads from as many sockets, each on its own as receivers are, until standard input ends.
func floorReceive(text string) error {
	count, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	var addresses []string
	for range count {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			return err
		}
		addresses = append(addresses, conn.LocalAddr().String())
		go func() { _, _ = io.Copy(io.Discard, conn) }() // until the process ends
	}
	fmt.Println(strings.Join(addresses, " "))
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// floorSend sends what the row's publishers would have forwarded, and prints a report with what that took.
func floorSend(ctx context.Context, name, text string, to []string) error {
	found, err := selectRows([]string{name})
	if err != nil {
		return err
	}
	duration, err := time.ParseDuration(text)
	if err != nil {
		return err
	}
	conn, err := udp.Listen(ctx, "127.0.0.1:0", udp.Config{})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	s := sealer{out: conn.NewBatch()}
	for _, each := range to {
		address, err := netip.ParseAddrPort(each)
		if err != nil {
			return err
		}
		s.to = append(s.to, address)
	}
	if s.gcm, err = newGCM(); err != nil {
		return err
	}
	used := cpuTime()
	s.run(found[0], time.Now().Add(duration))
	seconds := (cpuTime() - used).Seconds()
	return json.NewEncoder(os.Stdout).Encode(load.Report{
		Seconds: duration.Seconds(), Packets: load.Packets{Forwarded: s.sent, Delivered: 1},
		CPU: &load.CPU{Seconds: seconds, MicrosecondsPerPacket: 1e6 * seconds / float64(s.sent)},
	})
}

func newGCM() (cipher.AEAD, error) {
	block, err := aes.NewCipher(make([]byte, 16))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func cpuTime() time.Duration {
	var usage unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &usage) // fails for an unknown argument only
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// sealer sends to all receivers.
type sealer struct {
	gcm  cipher.AEAD
	to   []netip.AddrPort
	out  *udp.Batch
	sent int64
}

// run sends pictures when they are due: of publisher after publisher, spread over a frame's time.
func (s *sealer) run(r row, end time.Time) {
	perPicture := max(1, r.videoKbps*1000/8*int(frameEvery/time.Millisecond)/1000/videoPayload)
	payload := make([]byte, videoPayload)
	begin := time.Now()
	for frame, voices := 0, 0; ; frame++ {
		for p := range r.publishers {
			at := begin.Add(time.Duration(frame)*frameEvery + time.Duration(p)*frameEvery/time.Duration(r.publishers))
			if at.After(end) {
				return
			}
			time.Sleep(time.Until(at))
			for range perPicture {
				s.seal(payload, p, r)
			}
			s.out.Flush()
		}
		for ; time.Since(begin) > time.Duration(voices)*audioEvery; voices++ {
			for p := range r.publishers {
				s.seal(payload[:audioPayload], p, r)
				s.out.Flush()
			}
		}
	}
}

// seal sends a packet of a publisher to all subscribers: in a meeting, to all others.
func (s *sealer) seal(payload []byte, publisher int, r row) {
	var nonce [12]byte
	for i, to := range s.to {
		if r.subscribers == 0 && i == publisher {
			continue
		}
		s.sent++
		if s.out.Add(s.gcm.Seal(s.out.Room(), nonce[:], payload, nil), to, udp.Video) != nil {
			return
		}
	}
}
