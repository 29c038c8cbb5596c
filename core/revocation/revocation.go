// Package revocation is which TURN credentials are good no more although they have not expired.
//
// The id of a credential is a path, VISIT.PARTICIPANT.SESSION. A revocation names one, or a beginning of it up to a
// dot, and then covers all that begin so.
package revocation

import (
	"crypto/sha256"
	"encoding/base32"
	"slices"
	"strings"
	"time"
)

// hashChars is how much of a hash stands for a visit or a participant: 65 bits, so that ids stay within 64 characters
// with a UUID as the session.
const hashChars = 13

// holderShare is the part of a list that the sessions of one participant may fill, holderLeast what it is at least: somebody who
// comes back again and again must not push out what others were denied.
const holderShare, holderLeast = 64, 16

// purgeEvery is how often what has expired is looked for.
const purgeEvery = time.Minute

var encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Visit returns the id that all credentials of an encounter begin with. It tells nothing of the encounter's name.
func Visit(tenant, encounter string) string { return hash(tenant, encounter) }

// Participant returns the id that all credentials of one participant of an encounter begin with.
func Participant(tenant, encounter, participant string) string {
	return Visit(tenant, encounter) + "." + hash(tenant, encounter, participant)
}

// Session returns the id of the credentials of one session, at most 64 characters if the session is a UUID.
func Session(tenant, encounter, participant, session string) string {
	return Participant(tenant, encounter, participant) + "." + session
}

// Holder returns what all credentials of the participant who holds this one begin with; one that is of no session is its own.
func Holder(credential string) string {
	if end := strings.LastIndexByte(credential, '.'); end > 0 {
		return credential[:end]
	}
	return credential
}

func hash(names ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(names, "\x00")))
	return encoding.EncodeToString(sum[:])[:hashChars]
}

// Entry is one revocation: Credential and all that begins with it and a dot, until Until.
type Entry struct {
	Credential string
	Until      time.Time
}

// List is a bounded set of revocations, each kept until it expires. It is not safe for concurrent use.
type List struct {
	limit   int
	until   map[string]time.Time
	holders map[string]int // how many entries are of each holder
	purge   time.Time      // when to look for what has expired
}

// NewList returns an empty list of at most limit entries.
func NewList(limit int) *List {
	return &List{limit: limit, until: make(map[string]time.Time), holders: make(map[string]int)}
}

// Add takes in a revocation, of one that is known the later end. News says that it covers something that was not
// covered. A full list makes room by losing the entry that expires first, and a holder's full share the holder's, which dropped
// reports.
func (l *List) Add(e Entry, now time.Time) (news, dropped bool) {
	if !e.Until.After(now) {
		return false, false
	}
	if !now.Before(l.purge) {
		l.forgetExpired(now)
	}
	held, known := l.until[e.Credential]
	if known {
		if e.Until.After(held) {
			l.until[e.Credential] = e.Until
		}
		return !held.After(now), false
	}
	if len(l.until) >= l.limit {
		l.forgetExpired(now)
	}
	holder := Holder(e.Credential)
	switch {
	case l.holders[holder] >= max(holderLeast, l.limit/holderShare):
		l.forgetFirst(func(credential string) bool { return Holder(credential) == holder })
		dropped = true
	case len(l.until) >= l.limit:
		l.forgetFirst(func(string) bool { return true })
		dropped = true
	}
	news = !l.Covers(e.Credential, now)
	l.until[e.Credential] = e.Until
	l.holders[holder]++
	return news, dropped
}

func (l *List) forgetExpired(now time.Time) {
	l.purge = now.Add(purgeEvery)
	for credential, until := range l.until {
		if !until.After(now) {
			l.forget(credential)
		}
	}
}

// forgetFirst loses the one that expires first of those that match.
func (l *List) forgetFirst(matches func(credential string) bool) {
	first := ""
	for credential, until := range l.until {
		if (first == "" || until.Before(l.until[first])) && matches(credential) {
			first = credential
		}
	}
	l.forget(first)
}

func (l *List) forget(credential string) {
	delete(l.until, credential)
	holder := Holder(credential)
	l.holders[holder]--
	if l.holders[holder] <= 0 {
		delete(l.holders, holder)
	}
}

// Covers reports whether a credential is revoked.
func (l *List) Covers(credential string, now time.Time) bool {
	for end := len(credential); end > 0; end = strings.LastIndexByte(credential[:end], '.') {
		if l.until[credential[:end]].After(now) {
			return true
		}
	}
	return false
}

// Entries returns what has not expired, ordered by credential.
func (l *List) Entries(now time.Time) []Entry {
	l.forgetExpired(now)
	entries := make([]Entry, 0, len(l.until))
	for credential, until := range l.until {
		entries = append(entries, Entry{credential, until})
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Credential, b.Credential) })
	return entries
}

// Len is how many entries there are, some of which may have expired in the last minute.
func (l *List) Len() int { return len(l.until) }
