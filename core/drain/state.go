package drain

import "strings"

// state is what a component was asked to do. It is a value: each method returns the next one.
//
//	             node maintenance on
//	         ---------------------------->
//	serving                                 draining, as long as the node is in maintenance
//	  |  ^   <----------------------------
//	  |  |       node maintenance off
//	  |  |
//	  |  +-- undrain, or node maintenance switched on and off again --+
//	  |                                                               |
//	  +---- service maintenance seen once ---> draining, latched -----+
//
//	leave, in any state: draining for good
//
// Service maintenance is latched since Nomad registers a service again whenever its definition changes, and Consul's
// agent then drops it: that it is gone does not mean that the operator switched it off.
type state struct {
	node, latched, leaving               bool
	nodeReason, latchReason, leaveReason string
}

// sight is what one look at the agent shows.
type sight struct {
	node, service             bool
	nodeReason, serviceReason string
}

// see takes what the agent shows. Service maintenance that is still on is latched again, whatever ended the latch.
func (s state) see(now sight) state {
	if s.node && !now.node {
		s.latched = false
	}
	s.node, s.nodeReason = now.node, now.nodeReason
	if now.service {
		s.latched, s.latchReason = true, now.serviceReason
	}
	return s
}

// latch drains as if service maintenance had been seen: an earlier process of the component saw it.
func (s state) latch(reason string) state {
	s.latched, s.latchReason = true, reason
	return s
}

// undrain ends the latch.
func (s state) undrain() state {
	s.latched = false
	return s
}

// leave drains for good.
func (s state) leave(reason string) state {
	s.leaving, s.leaveReason = true, reason
	return s
}

// Causes of a drain.
const (
	causeNode    = "node maintenance"
	causeService = "service maintenance"
	causeLeaving = "leaving"
)

// draining says whether the component is to drain, why, and what the operator gave as the reason.
func (s state) draining() (on bool, cause, reason string) {
	switch {
	case s.leaving:
		return true, causeLeaving, s.leaveReason
	case s.node:
		return true, causeNode, s.nodeReason
	case s.latched:
		return true, causeService, s.latchReason
	}
	return false, "", ""
}

// maxReason bounds an operator's reason, in bytes.
const maxReason = 200

// tidy makes a reason fit for one line.
func tidy(reason string) string {
	reason = strings.Join(strings.Fields(strings.ToValidUTF8(reason, "")), " ")
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "")
	}
	return reason
}
