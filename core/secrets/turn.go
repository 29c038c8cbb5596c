package secrets

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // the TURN REST convention fixes HMAC-SHA1, whose security does not rest on collisions
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// maxTURNUsername is the longest USERNAME attribute (RFC 8489, section 14.3), in bytes.
const maxTURNUsername = 508

// Errors of TURNPassword. Their text never contains the username.
var (
	// ErrCredentialMalformed says that a username is not "<unix seconds>:<id>".
	ErrCredentialMalformed = errors.New("malformed TURN username")
	// ErrCredentialExpired says that the time in a username has passed.
	ErrCredentialExpired = errors.New("expired TURN credential")
)

// TURNCredential makes a time-limited credential after the TURN REST convention, which coturn uses too: the
// username is "<unix seconds of expiry>:<id>", the password base64(HMAC-SHA1(secret, username)). The id
// should be opaque; relays log it.
func TURNCredential(s Shared, id string, expires time.Time) (username, password string) {
	username = strconv.FormatInt(expires.Unix(), 10) + ":" + id
	return username, turnPassword(s.Current, username)
}

// TURNPassword returns the passwords a username may come with, the current secret's first. It fails with
// ErrCredentialMalformed or ErrCredentialExpired.
func TURNPassword(s Shared, username string, now time.Time) (passwords []string, err error) {
	if len(s.Current) == 0 {
		return nil, fmt.Errorf("shared secret %q is empty", TURNSecret)
	}
	seconds, id, found := strings.Cut(username, ":")
	expires, err := strconv.ParseInt(seconds, 10, 64)
	if !found || id == "" || err != nil || expires < 0 || len(username) > maxTURNUsername {
		return nil, fmt.Errorf("%w: must be <unix seconds>:<id>, at most %d bytes", ErrCredentialMalformed, maxTURNUsername)
	}
	if late := now.Unix() - expires; late >= 0 {
		return nil, fmt.Errorf("%w: ended %d s ago", ErrCredentialExpired, late)
	}
	passwords = []string{turnPassword(s.Current, username)}
	if len(s.Previous) > 0 {
		passwords = append(passwords, turnPassword(s.Previous, username))
	}
	return passwords, nil
}

func turnPassword(secret []byte, username string) string {
	mac := hmac.New(sha1.New, secret)
	mac.Write([]byte(username))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
