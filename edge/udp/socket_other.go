//go:build !linux

package udp

import (
	"context"
	"errors"
	"io"
	"net"
)

var systemSocket opener = openPortable

// bind binds one socket, however many are asked for.
func bind(ctx context.Context, address string, _ Config) ([]*net.UDPConn, error) {
	var listen net.ListenConfig
	conn, err := listen.ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	bound, ok := conn.(*net.UDPConn)
	if !ok {
		return nil, errors.Join(errors.New("not a UDP socket"), conn.Close())
	}
	return []*net.UDPConn{bound}, nil
}

// sizeBuffers asks for the buffers; what this system grants cannot be told.
func sizeBuffers(conn *net.UDPConn, cfg Config) {
	if err := errors.Join(conn.SetReadBuffer(cfg.ReadBuffer), conn.SetWriteBuffer(cfg.WriteBuffer)); err != nil {
		cfg.Log.Warn().Err(err).Msg("socket buffers not set")
	}
}

// listenPatient has nothing to keep apart with.
func listenPatient(context.Context, []*shard, Config) (io.Closer, error) { return nil, nil }
