package udp

import (
	"errors"
	"net"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Offsets in a program that steers count from the payload, or from network on from the network header.
const (
	network = 0xfff00000 // SKF_NET_OFF of linux/filter.h

	versionAt              = network                    // the higher half of the byte
	source4At, source6At   = network + 12, network + 20 // of the IPv6 address the last but two quarters
	headerSize6, portBytes = 40, 2
	prefixBytes            = 2
)

// steering is a program that gives the kernel the number of the socket that a datagram is for, of all that share the port: that of its
// peer's shard by a hash, or the one after the shards for what begins as one of the prefixes.
func steering(shards uint32, patient []Prefix) ([]bpf.RawInstruction, error) {
	const (
		odd  = 0x9e3779b1 // 2^32 divided by the golden ratio
		each = 4          // instructions for a prefix
	)
	program := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtLen},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: prefixBytes, SkipTrue: uint8(each * len(patient))}, // to read beyond the end would end it
	}
	for _, prefix := range patient {
		program = append(program,
			bpf.LoadAbsolute{Off: 0, Size: prefixBytes},
			bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: uint32(prefix.Mask)},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(prefix.Value), SkipTrue: 1},
			bpf.RetConstant{Val: shards},
		)
	}
	return bpf.Assemble(append(program,
		bpf.LoadAbsolute{Off: versionAt, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 6, SkipTrue: 5},

		bpf.LoadMemShift{Off: network}, // how long the IPv4 header is
		bpf.LoadIndirect{Off: network, Size: portBytes},
		bpf.TAX{},
		bpf.LoadAbsolute{Off: source4At, Size: 4},
		bpf.Jump{Skip: 3},

		bpf.LoadAbsolute{Off: network + headerSize6, Size: portBytes},
		bpf.TAX{},
		bpf.LoadAbsolute{Off: source6At, Size: 4},

		bpf.ALUOpX{Op: bpf.ALUOpXor},
		bpf.ALUOpConstant{Op: bpf.ALUOpMul, Val: odd},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 16},
		bpf.ALUOpConstant{Op: bpf.ALUOpMod, Val: shards},
		bpf.RetA{},
	))
}

// steer has the kernel steer what comes for the sockets that share conn's port.
func steer(conn *net.UDPConn, shards int, patient []Prefix) error {
	program, err := steering(uint32(shards), patient)
	if err != nil {
		return err
	}
	filters := make([]unix.SockFilter, len(program))
	for i, each := range program {
		filters[i] = unix.SockFilter{Code: each.Op, Jt: each.Jt, Jf: each.Jf, K: each.K}
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF,
			&unix.SockFprog{Len: uint16(len(filters)), Filter: &filters[0]})
	})
	return errors.Join(err, set)
}
