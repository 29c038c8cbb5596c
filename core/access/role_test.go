package access

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPermissionMatrix(t *testing.T) {
	// The whole policy, spelled out a second time on purpose: changing it takes two deliberate edits.
	want := `action         provider  patient  interpreter  family  supervisor  scribe
enter          yes       -        -            -       yes         -
publish-audio  yes       yes      yes          yes     yes         -
publish-video  yes       yes      yes          yes     yes         -
publish-screen yes       yes      -            -       -           -
subscribe      yes       yes      yes          yes     yes         yes
admit          yes       -        -            -       -           -
remove         yes       -        -            -       -           -
mute-request   yes       -        -            -       -           -
lock           yes       -        -            -       -           -
end            yes       -        -            -       -           -
read-quality   yes       -        -            -       yes         -
`
	require.Equal(t, columns(want), columns(Matrix()))
}

// columns makes tables comparable whatever their spacing.
func columns(table string) [][]string {
	var lines [][]string
	for line := range strings.Lines(table) {
		lines = append(lines, strings.Fields(line))
	}
	return lines
}

func TestMatrixIsAligned(t *testing.T) {
	lines := strings.Split(strings.TrimSuffix(Matrix(), "\n"), "\n")
	require.Len(t, lines, 1+len(Actions()))
	column := strings.Index(lines[0], "scribe")
	for _, line := range lines[1:] {
		require.Equal(t, byte(' '), line[column-1], line)
		require.NotEqual(t, byte(' '), line[column], line)
	}
}

func TestEveryRoleHasARowAndOnlyKnownActions(t *testing.T) {
	require.Len(t, matrix, len(Roles()))
	for _, role := range Roles() {
		require.NotEmpty(t, Permissions(role), role)
		require.Subset(t, Actions(), Permissions(role), role)
	}
}

func TestUnknownRolesMayDoNothing(t *testing.T) {
	for _, action := range Actions() {
		require.False(t, Can("administrator", action))
		require.False(t, Can("", action))
	}
	require.Empty(t, Permissions("administrator"))
}

func TestPermissionsCannotChangeThePolicy(t *testing.T) {
	Permissions(Patient)[0] = EndEncounter
	require.False(t, Can(Patient, EndEncounter))
}

func TestParseRole(t *testing.T) {
	for _, role := range Roles() {
		parsed, err := ParseRole(string(role))
		require.NoError(t, err)
		require.Equal(t, role, parsed)
	}
	for _, name := range []string{"", "Provider", "nurse"} {
		_, err := ParseRole(name)
		require.ErrorContains(t, err, "must be one of provider, patient, interpreter, family, supervisor, scribe")
	}
}
