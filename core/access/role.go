// Package access decides who may do what: join tokens, API tokens, roles and the permission matrix.
package access

import (
	"fmt"
	"slices"
)

// Role is what a participant is to an encounter.
type Role string

// Roles a join token can carry.
const (
	Provider    Role = "provider"
	Patient     Role = "patient"
	Interpreter Role = "interpreter"
	Family      Role = "family"
	Supervisor  Role = "supervisor"
	Scribe      Role = "scribe"
)

// Action is one thing a participant can ask for.
type Action string

// Actions the matrix decides about.
const (
	Enter         Action = "enter" // join without waiting to be admitted
	PublishAudio  Action = "publish-audio"
	PublishVideo  Action = "publish-video"
	PublishScreen Action = "publish-screen"
	Subscribe     Action = "subscribe"
	AdmitOthers   Action = "admit"
	RemoveOthers  Action = "remove"
	MuteOthers    Action = "mute-request"
	LockEncounter Action = "lock"
	EndEncounter  Action = "end"
	ReadQuality   Action = "read-quality"
)

// Roles lists every role, in the order of the matrix.
func Roles() []Role {
	return []Role{Provider, Patient, Interpreter, Family, Supervisor, Scribe}
}

// Actions lists every action, in the order of the matrix.
func Actions() []Action {
	return []Action{
		Enter, PublishAudio, PublishVideo, PublishScreen, Subscribe,
		AdmitOthers, RemoveOthers, MuteOthers, LockEncounter, EndEncounter, ReadQuality,
	}
}

// matrix is the whole policy: what is not listed is denied.
var matrix = map[Role][]Action{
	Provider: {
		Enter, PublishAudio, PublishVideo, PublishScreen, Subscribe,
		AdmitOthers, RemoveOthers, MuteOthers, LockEncounter, EndEncounter, ReadQuality,
	},
	Patient:     {PublishAudio, PublishVideo, PublishScreen, Subscribe},
	Interpreter: {PublishAudio, PublishVideo, Subscribe},
	Family:      {PublishAudio, PublishVideo, Subscribe},
	Supervisor:  {Enter, PublishAudio, PublishVideo, Subscribe, ReadQuality},
	Scribe:      {Subscribe},
}

// Can reports whether a role may do an action. Unknown roles may do nothing.
func Can(role Role, action Action) bool {
	return slices.Contains(matrix[role], action)
}

// Permissions lists what a role may do, in the order of Actions.
func Permissions(role Role) []Action {
	return slices.Clone(matrix[role])
}

// ParseRole checks a role's name.
func ParseRole(name string) (Role, error) {
	if slices.Contains(Roles(), Role(name)) {
		return Role(name), nil
	}
	return "", fmt.Errorf("role %q: must be one of %s", name, roleNames())
}
