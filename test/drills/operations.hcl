# What an operator does to a real cluster on any day: a visit must not notice. Needs no world:
#
#   CONSUL_HTTP_ADDR=https://... NOMAD_ADDR=https://... wardline drill test/drills/operations.hcl
#
# The control asks that visits stay where they are, which they must not.

drill "media-node-maintenance" {
  description = "A media node is put into maintenance mode: its visit moves without a gap"
  visit "v" {
    count = 2
    participant "clinician" { role = "provider" }
    participant "patient" { role = "patient" }
  }
  inject {
    verb   = "maintenance"
    target = visit.v-1.sfu.node
  }
  hold = "10s"
  targets {
    longest_gap      = "500ms"
    recovered_within = "10s"
    signaling        = true
  }
  control "must-stay" {
    description = "Negative control: visits leave a node in maintenance, so none can be where it was"
    targets {
      resumed_on = "same sfu"
    }
  }
}
