// Command livekit makes the load of "wardline load" on a LiveKit server, through that server's SDK, for the table of
// docs/benchmarks.md. It is a module of its own: Wardline itself needs nothing of it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"time"

	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/webrtc/v4"
	"github.com/prometheus/procfs"
	"github.com/spf13/pflag"

	"github.com/wardline/wardline/edge/load"
	"github.com/wardline/wardline/edge/load/synthetic"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "livekit:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	config := load.Config{Visits: 1, JoinTimeout: 30 * time.Second}
	var d door
	var kbps, pid int
	pflag.StringVar(&d.url, "url", "ws://127.0.0.1:7880", "URL of the server")
	pflag.StringVar(&d.key, "key", "devkey", "API key; its secret is in LIVEKIT_API_SECRET (default: that of --dev)")
	pflag.IntVar(&config.Publishers, "publishers", 2, "participants who publish")
	pflag.IntVar(&config.Subscribers, "subscribers", 0, "participants who only receive")
	pflag.IntVar(&kbps, "video-kbps", 1500, "bitrate of each publisher's video")
	pflag.DurationVar(&config.Ramp, "ramp", time.Second, "how long it takes until all have begun to join")
	pflag.DurationVar(&config.Duration, "duration", 10*time.Second, "how long is measured")
	pflag.IntVar(&pid, "pid", 0, "the server's process id")
	pflag.String("json-file", "-", "the report is on standard output always")
	pflag.String("progress", "json", "progress is JSON always")
	pflag.Parse()
	if d.secret = os.Getenv("LIVEKIT_API_SECRET"); d.secret == "" {
		d.secret = "secret"
	}
	d.room = fmt.Sprintf("load-%d", time.Now().UnixNano())
	config.Door = &d
	config.Format = synthetic.Format{VideoBitrate: 1000 * kbps, AudioBitrate: 32_000, FrameRate: 30}
	config.CPU = func() (time.Duration, error) {
		process, err := procfs.NewProc(pid)
		if err != nil {
			return 0, err
		}
		stat, err := process.Stat()
		return time.Duration(stat.CPUTime() * float64(time.Second)), err
	}
	progress := json.NewEncoder(os.Stderr)
	config.Progress = func(p load.Progress) { _ = progress.Encode(p) }
	report, err := load.Run(ctx, config)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(report)
}

const keyFrameEvery = 2 * time.Second

// door implements load.Door.
type door struct{ url, key, secret, room string }

// Attend implements load.Door.
func (d *door) Attend(ctx context.Context, guest *load.Guest) error {
	var reading sync.WaitGroup
	gone := make(chan struct{}, 1)
	callback := lksdk.NewRoomCallback()
	callback.OnTrackSubscribed = func(track *webrtc.TrackRemote, _ *lksdk.RemoteTrackPublication, _ *lksdk.RemoteParticipant) {
		reading.Go(func() {
			for buffer := make([]byte, 1500); ; {
				n, _, err := track.Read(buffer)
				if err != nil {
					return
				}
				guest.Packet(buffer[:n], time.Now())
			}
		})
	}
	callback.OnDisconnected = func() {
		select {
		case gone <- struct{}{}:
		default:
		}
	}
	room, err := lksdk.ConnectToRoom(d.url, lksdk.ConnectInfo{
		APIKey: d.key, APISecret: d.secret, RoomName: d.room, ParticipantIdentity: fmt.Sprintf("guest-%d", guest.Number),
	}, callback)
	if err != nil {
		return err
	}
	defer reading.Wait()
	defer room.Disconnect()
	if guest.Source != nil {
		for _, track := range guest.Source.Tracks() {
			if _, err := room.LocalParticipant.PublishTrack(track, &lksdk.TrackPublicationOptions{Name: track.ID()}); err != nil {
				return err
			}
		}
	}
	// The SDK tells nobody that a key frame was asked for.
	keyFrames := time.NewTicker(keyFrameEvery)
	defer keyFrames.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-gone:
			return errors.New("disconnected")
		case <-keyFrames.C:
			if guest.Source != nil {
				guest.Source.Camera.KeyFrame()
			}
		}
	}
}

// Close implements load.Door.
func (d *door) Close(context.Context) error { return nil }
