//go:build linux

package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/edge/load"
)

func TestPeersAreReadStrictly(t *testing.T) {
	peer, err := parsePeer("m,pid=12,whip=http://a/{visit}=1,whep=http://a/x")
	require.NoError(t, err)
	require.Equal(t, server{name: "m", pid: 12, whip: "http://a/{visit}=1", whep: "http://a/x"}, peer)
	peer, err = parsePeer("l,pid=12,command=./generator --key a")
	require.NoError(t, err)
	require.Equal(t, "./generator --key a", peer.command)
	for says, text := range map[string]string{
		"must be a process id":   "m,pid=x",
		"must be pid, whip":      "m,port=1",
		"a name of its own":      "wardline,pid=1,command=x",
		"needs a pid":            "m,command=x",
		"needs whip and whep":    "m,pid=1,whip=http://a",
		`--row "x": must be one`: "",
	} {
		if text == "" {
			_, err = selectRows([]string{"x"})
		} else {
			_, err = parsePeer(text)
		}
		require.ErrorContains(t, err, says)
	}
}

func TestTheTableHasMediansAndRatios(t *testing.T) {
	var r results
	for round, costs := range [][2]float64{{7, 20}, {6, 30}, {9, 24}} {
		for at, name := range []string{ours, "peer"} {
			r.Measurements = append(r.Measurements, measurement{
				Row: "meeting", Server: name, Round: round + 1,
				Report: load.Report{
					CPU: &load.CPU{MicrosecondsPerPacket: costs[at]}, Latency: load.Times{P50: 0.5, P99: 2},
					Packets: load.Packets{Delivered: 1},
				},
			})
		}
	}
	var out bytes.Buffer
	require.NoError(t, r.table(&out))
	require.Regexp(t, `4-party meeting.*wardline +7\.00 +- +0\.50 +2\.00`, out.String())
	require.Regexp(t, `4-party meeting.*peer +24\.00 +0\.29 `, out.String())
	require.NotContains(t, out.String(), "20 subscribers", "it was not measured")
	r.Measurements = append(r.Measurements, measurement{Row: "webinar", Server: ours, Round: 1})
	out.Reset()
	require.NoError(t, r.table(&out))
	require.Regexp(t, `300 participants.* wardline `, out.String())
	require.NotRegexp(t, `300 participants.* peer `, out.String(), "a peer was not measured in it")
	for at := range r.Measurements {
		r.Measurements[at].Report.Packets.Delivered = 0.5
	}
	require.NoError(t, r.table(&out))
	require.Regexp(t, `peer +24\.00 +- `, out.String(), "who does not deliver is not compared with")
	require.Contains(t, r.Measurements[0].String(), "7.00 us")
}
