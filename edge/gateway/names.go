package gateway

import (
	"maps"

	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/secrets"
)

// badgeName is what a badge was found to hold; one that did not open is tried again.
type badgeName struct {
	name   string
	opened bool
}

// openBadges returns display names by participant. A badge that does not open leaves its name empty.
func (v *view) openBadges(e encounter.Encounter) map[string]string {
	v.mu.Lock()
	known := maps.Clone(v.names)
	v.mu.Unlock()
	names, fresh := make(map[string]string, len(e.Participants)), make(map[string]badgeName, len(e.Participants))
	var with []secrets.Shared
	for id, p := range e.Participants {
		if len(p.Badge) == 0 {
			continue
		}
		at := id + "\x00" + string(p.Badge)
		found, tried := known[at]
		if !found.opened {
			if with == nil {
				with = v.server.rosterSecrets(v)
			}
			if found = openBadge(with, badgeKey(v.key, id), p.Badge); !found.opened && !tried {
				v.server.Log.Warn().Str("encounter", v.key.ID).Str("participant", id).Int("secrets", len(with)).Msg("name cannot be opened")
			}
		}
		names[id], fresh[at] = found.name, found
	}
	v.mu.Lock()
	v.names = fresh
	v.mu.Unlock()
	return names
}

// openBadge tries the own region's secret first, then those of the others: whichever sealed the name.
func openBadge(with []secrets.Shared, key string, badge []byte) badgeName {
	for _, shared := range with {
		if name, err := secrets.OpenBadge(shared, key, badge); err == nil {
			return badgeName{name, true}
		}
	}
	return badgeName{}
}

// rosterSecrets are those that a name in a view may be sealed with.
func (s *Server) rosterSecrets(v *view) []secrets.Shared {
	var all []secrets.Shared
	own, err := s.Keeper.Shared(v.ctx, secrets.RosterSecret)
	if err == nil {
		all = append(all, own)
	} else {
		s.Log.Warn().Err(err).Str("encounter", v.key.ID).Msg("names of this region cannot be opened")
	}
	if s.others != nil {
		all = append(all, s.others.Rosters()...)
	}
	return all
}

// reopenNames shows the names that another region's secret opens, now that it is known.
func (s *Server) reopenNames() {
	for _, v := range s.allViews() {
		v.reopenNames()
	}
}

func (v *view) reopenNames() {
	v.mu.Lock()
	record := v.record
	v.mu.Unlock()
	names := v.openBadges(record)
	v.mu.Lock()
	defer v.mu.Unlock()
	if record.Revision == v.record.Revision && v.everybody != nil {
		v.everybody = rosterOf(v.everybody, v.record, names)
		v.step()
	}
}

func badgeKey(key encounter.Key, participant string) string {
	return key.Tenant + "/" + key.ID + "/" + participant
}
