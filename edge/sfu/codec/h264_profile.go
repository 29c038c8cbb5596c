package codec

import (
	"encoding/hex"
	"slices"
)

// profile is what a profile-level-id of H.264 stands for, apart from its level (RFC 6184, table 5).
type profile int

const (
	unknownProfile profile = iota
	constrainedBaseline
	baseline
	mainProfile
	constrainedHigh
	high
)

// decodes lists what decoders of a profile take besides it (ITU-T H.264, annex A.2). The baseline has tools that main and high
// lack, which no encoder of this century uses.
var decodes = map[profile][]profile{
	baseline:        {constrainedBaseline},
	mainProfile:     {constrainedBaseline, baseline},
	constrainedHigh: {constrainedBaseline, baseline},
	high:            {constrainedBaseline, baseline, mainProfile, constrainedHigh},
}

// H264Decodes reports whether decoders of one profile-level-id, six hexadecimal digits, take streams of another. Levels are left
// out: they are of the decoder's power, and what is sent is fitted to that elsewhere. Nobody is known to decode what is malformed.
func H264Decodes(decoder, stream string) bool {
	able, asked := profileOf(decoder), profileOf(stream)
	if able == unknownProfile || asked == unknownProfile {
		return false
	}
	return able == asked || slices.Contains(decodes[able], asked)
}

// Bits of the second byte: streams that keep the constraints of the baseline, of main, and (both) of constrained high.
const (
	keepsBaseline = 0x80
	keepsMain     = 0x40
	keepsBoth     = 0x0c
)

func profileOf(id string) profile {
	raw, err := hex.DecodeString(id)
	if err != nil || len(raw) != 3 {
		return unknownProfile
	}
	switch kind, constraints := raw[0], raw[1]; {
	case kind == 66 && constraints&keepsMain != 0, kind == 77 && constraints&keepsBaseline != 0:
		return constrainedBaseline
	case kind == 66:
		return baseline
	case kind == 77:
		return mainProfile
	case kind == 100 && constraints&keepsBoth == keepsBoth:
		return constrainedHigh
	case kind == 100:
		return high
	}
	return unknownProfile
}
