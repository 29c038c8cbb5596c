package descriptor

const (
	// maxTemplates is how many templates six bits tell apart.
	maxTemplates = 64
	// maxLayer is the highest spatial or temporal layer.
	maxSpatial, maxTemporal = 3, 7
)

// Structure says how the frames of a stream depend on each other, from a key frame to the next: what the descriptors of frames
// point into. It does not change.
type Structure struct {
	// Targets are the decode targets, in the order of their bits and indications: what can be decoded of the stream.
	Targets []Target
	// Resolutions are the sizes of pictures by spatial layer, nil if they are not said.
	Resolutions []Resolution

	offset    uint8
	chains    int
	templates []template
	covered   []uint32
}

// Target is a decode target.
type Target struct {
	// Spatial, Temporal are the highest layers it has.
	Spatial, Temporal uint8
}

// Resolution is the size of a picture in pixels, 1 to 65536 a side.
type Resolution struct{ Width, Height int }

// template is what many frames have in common.
type template struct {
	spatial, temporal uint8
	indications       Indications
	diffs             []uint16
	chains            []uint8
}

// All has the bit of each decode target set.
func (s *Structure) All() uint32 { return uint32(1<<len(s.Targets) - 1) }

// Covered has the bits of the decode targets that can be decoded by whoever gets every frame of one of them: itself, and those
// that have no other frames.
func (s *Structure) Covered(by int) uint32 { return s.covered[by] }

// cover finds out which targets have no other frames than which.
func (s *Structure) cover(targets int) {
	s.covered = make([]uint32, targets)
	for target := range s.covered {
		s.covered[target] = s.All()
	}
	for _, t := range s.templates {
		var present uint32
		for target := range targets {
			if t.indications.Of(target) != NotPresent {
				present |= 1 << target
			}
		}
		for target := range targets {
			if present>>target&1 == 0 {
				s.covered[target] &^= present
			}
		}
	}
}

// readStructure reads template_dependency_structure.
func readStructure(r *reader) *Structure {
	s := &Structure{offset: uint8(r.read(6))}
	targets := int(r.read(5)) + 1
	if !s.readLayers(r) {
		return nil
	}
	for i := range s.templates {
		s.templates[i].indications = readIndications(r, targets)
	}
	for i := range s.templates {
		for r.flag() {
			s.templates[i].diffs = append(s.templates[i].diffs, uint16(r.read(4))+1)
		}
	}
	s.readChains(r, targets)
	s.locate(targets)
	s.cover(targets)
	if r.flag() {
		for range s.spatialLayers() {
			s.Resolutions = append(s.Resolutions, Resolution{int(r.read(16)) + 1, int(r.read(16)) + 1})
		}
	}
	if r.short {
		return nil
	}
	return s
}

// readLayers reads template_layers, which says how many templates there are as well.
func (s *Structure) readLayers(r *reader) bool {
	const same, nextTemporal, nextSpatial = 0, 1, 2
	var next template
	for len(s.templates) < maxTemplates && !r.short {
		s.templates = append(s.templates, next)
		switch r.read(2) {
		case same:
		case nextTemporal:
			next.temporal++
		case nextSpatial:
			next.spatial, next.temporal = next.spatial+1, 0
		default:
			return true
		}
		if next.spatial > maxSpatial || next.temporal > maxTemporal {
			return false
		}
	}
	return false
}

// readChains reads template_chains. Which chain protects which decode target, it passes over.
func (s *Structure) readChains(r *reader, targets int) {
	s.chains = int(r.below(uint32(targets) + 1))
	if s.chains > 0 {
		for range targets {
			_ = r.below(uint32(s.chains))
		}
	}
	for i := range s.templates {
		for range s.chains {
			s.templates[i].chains = append(s.templates[i].chains, uint8(r.read(4)))
		}
	}
}

// locate finds the layers of each decode target: the highest that its frames are of.
func (s *Structure) locate(targets int) {
	s.Targets = make([]Target, targets)
	for i := range s.Targets {
		t := &s.Targets[i]
		for _, each := range s.templates {
			if each.indications.Of(i) != NotPresent {
				t.Spatial, t.Temporal = max(t.Spatial, each.spatial), max(t.Temporal, each.temporal)
			}
		}
	}
}

func (s *Structure) spatialLayers() int { return int(s.templates[len(s.templates)-1].spatial) + 1 }

// find is the template with an id, nil if there is none.
func (s *Structure) find(id uint8) *template {
	index := (id + maxTemplates - s.offset) % maxTemplates
	if int(index) >= len(s.templates) {
		return nil
	}
	return &s.templates[index]
}
