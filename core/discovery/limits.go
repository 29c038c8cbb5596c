package discovery

import (
	"fmt"
	"regexp"
	"strings"
)

var (
	keyPart     = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	serviceName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._:@-]{0,99}$`)
)

func checkKey(key string) error {
	if len(key) > MaxKeyBytes {
		return fmt.Errorf("%w: key of %d bytes, at most %d", ErrInvalid, len(key), MaxKeyBytes)
	}
	parts := strings.Split(key, "/")
	if len(parts) > MaxKeyParts {
		return fmt.Errorf("%w: key %q has %d parts, at most %d", ErrInvalid, key, len(parts), MaxKeyParts)
	}
	for _, part := range parts {
		if !keyPart.MatchString(part) {
			return fmt.Errorf("%w: key %q: each part must match %s", ErrInvalid, key, keyPart)
		}
	}
	return nil
}

func checkWrite(key string, value []byte) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if len(value) > MaxValueBytes {
		return fmt.Errorf("%w: value of %s: %d bytes, at most %d", ErrInvalid, key, len(value), MaxValueBytes)
	}
	return nil
}

// CheckName says whether a service, node, region or lock can have that name; what is the word for it.
func CheckName(what, name string) error {
	if !serviceName.MatchString(name) {
		return fmt.Errorf("%w: %s %.110q: must match %s", ErrInvalid, what, name, serviceName)
	}
	return nil
}

// checked returns the service with its defaults filled in, or which member is out of range.
func checked(s Service) (Service, error) {
	members := []struct{ what, value string }{
		{"service name", s.Name}, {"service id", s.ID}, {"node", s.Node}, {"region", s.Region},
	}
	for _, member := range members {
		if err := CheckName(member.what, member.value); err != nil {
			return Service{}, err
		}
	}
	s.Stale = false
	switch s.Health {
	case "":
		s.Health = Passing
	case Passing, Warning, Critical:
	default:
		return Service{}, fmt.Errorf("%w: health %.16q of %s: must be %s, %s or %s",
			ErrInvalid, s.Health, s.ID, Passing, Warning, Critical)
	}
	return s, nil
}
