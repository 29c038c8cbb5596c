package signaling

import (
	"fmt"
	"math"
	"net/netip"
)

// Validate implements Message.
func (m Reserve) Validate() error { return m.validate() }

// Validate implements Message.
func (m Attach) Validate() error {
	if err := m.Route.Validate(); err != nil {
		return err
	}
	if err := m.validate(); err != nil {
		return err
	}
	if err := checkID("participant", m.Participant); err != nil {
		return err
	}
	switch m.Kind {
	case BrowserSession, WHIPSession, WHEPSession:
	default:
		return fmt.Errorf("kind %.16q: must be browser, whip or whep", string(m.Kind))
	}
	for _, source := range m.CanPublish {
		if err := source.validate(); err != nil {
			return err
		}
	}
	return checkOptionalID("target", m.Target)
}

// Validate implements Message.
func (m Membership) Validate() error {
	if err := m.validate(); err != nil {
		return err
	}
	for _, ids := range [][]string{m.Admitted, m.Waiting} {
		for _, id := range ids {
			if err := checkID("participant", id); err != nil {
				return err
			}
		}
	}
	return nil
}

// Validate implements Message.
func (m Restart) Validate() error {
	if err := m.Route.Validate(); err != nil {
		return err
	}
	return checkDescription(m.PC, m.Fragment)
}

// Validate implements Message.
func (m Restarted) Validate() error { return Restart(m).Validate() }

// Validate implements Message.
func (m Heartbeat) Validate() error {
	if math.IsNaN(m.Load) || math.IsInf(m.Load, 0) || m.Load < 0 {
		return fmt.Errorf("load %v: must be 0 or more", m.Load)
	}
	return nil
}

// Validate implements Message.
func (m Revoke) Validate() error {
	if err := checkLength("revocations", len(m.Revocations), MaxRevocations); err != nil {
		return err
	}
	for _, revocation := range m.Revocations {
		if err := checkID("credential", revocation.Credential); err != nil {
			return err
		}
		if revocation.Until <= 0 || revocation.Until > maxUnix {
			return fmt.Errorf("until %d: must be 1 to %d, in Unix seconds", revocation.Until, int64(maxUnix))
		}
	}
	return nil
}

// Validate implements Message.
func (m Revoked) Validate() error {
	if err := checkLength("credentials", len(m.Credentials), MaxRevocations); err != nil {
		return err
	}
	for _, credential := range m.Credentials {
		if err := checkID("credential", credential); err != nil {
			return err
		}
	}
	if m.Ended < 0 {
		return fmt.Errorf("ended %d: must be 0 or more", m.Ended)
	}
	return nil
}

// Validate implements Message.
func (m Allow) Validate() error { return checkAddresses(m.Addresses) }

// Validate implements Message.
func (m Allowed) Validate() error { return checkAddresses(m.Addresses) }

func checkAddresses(addresses []string) error {
	if err := checkLength("addresses", len(addresses), MaxAllowed); err != nil {
		return err
	}
	for _, address := range addresses {
		if at, err := netip.ParseAddrPort(address); err != nil || at.Port() == 0 {
			return fmt.Errorf("address %.70q: must be IP:PORT", address)
		}
	}
	return nil
}
