package quality

import "math"

// MOS estimates the mean opinion score of a voice stream, 1 to 4.5, from round-trip time and jitter in
// milliseconds and the loss ratio (0 to 1).
//
// It is the E-model of ITU-T G.107 with everything at its defaults (R0 - Is = 93.2) but two impairments:
// delay, Id = 0.024 d + 0.11 (d - 177.3) H(d - 177.3), where the mouth-to-ear delay d is half the round
// trip plus a playout buffer of twice the jitter plus 40 ms of packetization and capture; and loss, Ie-eff
// = Ie + (95 - Ie) Ppl / (Ppl + Bpl) with Ie = 0 and Bpl = 10 for Opus with concealment. Annex B turns R
// into MOS. It compares calls with each other; it is no measurement of one.
func MOS(rttMs, jitterMs, loss float64) float64 {
	const (
		r0       = 93.2
		fixedMs  = 40
		knee     = 177.3
		bpl      = 10
		maxIe    = 95
		perCent  = 100
		minScore = 1
		maxScore = 4.5
	)
	delay := rttMs/2 + 2*jitterMs + fixedMs
	id := 0.024*delay + 0.11*math.Max(0, delay-knee)
	ppl := loss * perCent
	ie := maxIe * ppl / (ppl + bpl)
	r := r0 - id - ie
	switch {
	case r <= 0:
		return minScore
	case r >= perCent:
		return maxScore
	}
	// The polynomial dips below 1 for R under 6.5.
	return math.Max(minScore, 1+0.035*r+r*(r-60)*(perCent-r)*7e-6)
}
