//go:build !linux

package udp

var systemSource = newSingle
