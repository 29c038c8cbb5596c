package dtlssrtp

// IsDTLS tells DTLS from what else comes to the port of a connection (RFC 7983, section 7).
func IsDTLS(datagram []byte) bool { return len(datagram) > 0 && datagram[0] >= 20 && datagram[0] <= 63 }

// IsMedia tells SRTP and SRTCP from STUN and DTLS (RFC 7983, section 7).
func IsMedia(datagram []byte) bool { return len(datagram) > 0 && datagram[0]>>6 == 2 }

// IsControl tells SRTCP from SRTP (RFC 5761, section 4).
func IsControl(media []byte) bool {
	const first, last = 192, 223
	return len(media) > 1 && media[1] >= first && media[1] <= last
}
