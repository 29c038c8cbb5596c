# Vault's failure table: whatever becomes of a region's Vault, visits go on and people with valid tokens join. Each region
# of the world (make stack) has a failure and a visit of its own, so that a report says which one did harm.
#
#   wardline drill test/drills/vault-table.hcl --world build/world ...

baseline = "1s"
settle   = "1s"

drill "vault-killed-sealed-silent" {
  description = "Vault is killed in one region, sealed in another, and stops without ending in the third; people join meanwhile"
  visit "killed" {
    regions = ["east"]
    participant "clinician" {
      role = "provider"
      at   = "east-guest-1"
    }
    participant "patient" {
      role  = "patient"
      at    = "east-guest-1"
      relay = true
    }
    participant "family" {
      role  = "family"
      at    = "east-guest-1"
      relay = true
      joins = "outage"
    }
  }
  visit "sealed" {
    regions = ["west"]
    participant "clinician" {
      role = "provider"
      at   = "west-guest-1"
    }
    participant "patient" {
      role  = "patient"
      at    = "west-guest-1"
      relay = true
    }
    participant "family" {
      role  = "family"
      at    = "west-guest-1"
      relay = true
      joins = "outage"
    }
  }
  visit "silent" {
    regions = ["onprem"]
    participant "clinician" {
      role = "provider"
      at   = "onprem-guest-1"
    }
    participant "patient" {
      role  = "patient"
      at    = "onprem-guest-1"
      relay = true
    }
    participant "family" {
      role  = "family"
      at    = "onprem-guest-1"
      relay = true
      joins = "outage"
    }
  }
  inject {
    verb    = "kill"
    target  = "east-server"
    process = "vault"
  }
  inject {
    verb   = "seal"
    target = "west"
  }
  inject {
    verb    = "pause"
    target  = "onprem-server"
    process = "vault"
  }
  hold = "10s"
  targets {
    longest_gap   = "1s"
    joined_within = "10s"
    signaling     = true
    resumed_on    = "same sfu"
  }
  control "gateways-start-anew" {
    description = "Negative control: a gateway that starts needs Vault, so nobody can join where all of them do"
    inject {
      verb   = "seal"
      target = "east"
    }
    inject {
      verb    = "kill"
      target  = "east"
      process = "gateway"
    }
  }
}

drill "vault-cut-off-refusing" {
  description = "The gateways of one region do not reach its servers, Vault among them; Vault of another refuses everything"
  visit "cut-off" {
    regions = ["east", "west", "onprem"] # its record goes on elsewhere: Consul is as far away as Vault
    rtt     = { east = 5, west = 30, onprem = 40 }
    participant "clinician" {
      role = "provider"
      at   = "east-guest-1"
    }
    participant "patient" {
      role  = "patient"
      at    = "east-guest-1"
      relay = true
    }
    participant "family" {
      role  = "family"
      at    = "east-guest-1"
      relay = true
      joins = "outage"
    }
  }
  visit "refused" {
    regions = ["west"]
    participant "clinician" {
      role = "provider"
      at   = "west-guest-1"
    }
    participant "patient" {
      role  = "patient"
      at    = "west-guest-1"
      relay = true
    }
    participant "family" {
      role  = "family"
      at    = "west-guest-1"
      relay = true
      joins = "outage"
    }
  }
  inject {
    verb   = "cut"
    target = "east-gateway-1"
    peer   = "east-server"
  }
  inject {
    verb   = "cut"
    target = "east-gateway-2"
    peer   = "east-server"
  }
  inject {
    verb   = "deny"
    target = "west"
  }
  hold = "10s"
  targets {
    longest_gap   = "1s"
    joined_within = "15s"
    signaling     = true
    resumed_on    = "same sfu"
  }
}
