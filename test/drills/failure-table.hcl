# The failure table: what the product promises for each failure, on a world of regions east, west and onprem
# (make stack). East is Consul's primary datacenter and Nomad's authoritative region.
#
#   wardline drill test/drills/failure-table.hcl --world build/world ...

baseline = "1s"
settle   = "1s"

# Its home is east, its people are elsewhere. Drills have it unless they say otherwise.
visit "v" {
  regions = ["east", "west", "onprem"]
  rtt     = { east = 5, west = 30, onprem = 40 }
  participant "clinician" {
    role = "provider"
    at   = "west-guest-1"
  }
  participant "patient" {
    role = "patient"
    at   = "onprem-guest-1"
  }
}

drill "gateway-killed" {
  description = "A gateway process is killed: clients resume at another gateway, media does not notice"
  inject {
    verb    = "kill"
    target  = visit.v.participant.clinician.gateway.node
    process = "gateway"
  }
  targets {
    longest_gap      = "500ms"
    recovered_within = "10s"
    signaling        = true
    resumed_on       = "same sfu"
  }
  control "sfu-instead" {
    description = "Negative control: a killed media server must not look like a killed gateway"
    inject {
      verb    = "kill"
      target  = visit.v.sfu.node
      process = "sfu"
    }
  }
}

drill "gateway-node-off" {
  description = "A gateway's node loses power, without a word to anybody"
  inject {
    verb   = "power-off"
    target = visit.v.participant.clinician.gateway.node
  }
  hold = "10s"
  targets {
    longest_gap      = "500ms"
    recovered_within = "15s"
    signaling        = true
    resumed_on       = "same sfu"
  }
}

drill "sfu-killed" {
  description = "A media server is killed (SIGKILL)"
  visit "v" {
    count   = 2
    regions = ["east", "west", "onprem"]
    rtt     = { east = 5, west = 30, onprem = 40 }
    participant "clinician" {
      role = "provider"
      at   = "west-guest-1"
    }
    participant "patient" {
      role = "patient"
      at   = "onprem-guest-1"
    }
  }
  inject {
    verb    = "kill"
    target  = visit.v-1.sfu.node
    process = "sfu"
  }
  targets {
    longest_gap      = "3s"
    recovered_within = "10s"
    signaling        = true
  }
  control "must-stay" {
    description = "Negative control: a visit cannot stay on a media server that is dead"
    targets {
      resumed_on = "same sfu"
    }
  }
}

drill "sfu-silent" {
  description = "A media server stops without ending: its sockets stay open, nothing comes from them"
  inject {
    verb    = "pause"
    target  = visit.v.sfu.node
    process = "sfu"
  }
  targets {
    longest_gap      = "3s"
    recovered_within = "10s"
    signaling        = true
    resumed_on       = "another sfu"
  }
  control "all-silent" {
    description = "Negative control: with every media server silent there is nowhere to go"
    inject {
      verb    = "pause"
      target  = "east"
      process = "sfu"
    }
    inject {
      verb    = "pause"
      target  = "west"
      process = "sfu"
    }
    inject {
      verb    = "pause"
      target  = "onprem"
      process = "sfu"
    }
  }
}

drill "media-node-off" {
  description = "A media server's node loses power"
  inject {
    verb   = "power-off"
    target = visit.v.sfu.node
  }
  hold = "10s"
  targets {
    longest_gap      = "6s"
    recovered_within = "15s"
    signaling        = true
    resumed_on       = "another sfu"
  }
}

drill "relay-killed" {
  description = "The relay of a patient behind a firewall is killed: the visit goes on over another one"
  visit "v" {
    regions = ["east", "west", "onprem"]
    rtt     = { east = 5, west = 30, onprem = 40 }
    participant "clinician" {
      role = "provider"
      at   = "west-guest-1"
    }
    participant "patient" {
      role  = "patient"
      at    = "onprem-guest-1"
      relay = true
    }
  }
  inject {
    verb    = "kill"
    target  = visit.v.participant.patient.relay.node
    process = "turn"
  }
  hold = "10s"
  targets {
    longest_gap      = "12s"
    recovered_within = "15s"
    signaling        = true
  }
}

drill "region-lost" {
  description = "The home region loses power as a whole: gateways, media servers, relays, Consul and Nomad servers"
  inject {
    verb   = "power-off"
    target = visit.v.home
  }
  hold = "15s"
  targets {
    longest_gap      = "10s"
    recovered_within = "20s"
    signaling        = true
    resumed_on       = "another region"
    rejoined_within  = "1m"
  }
}

drill "home-cut-off" {
  description = "The home region is cut off from the others: both halves keep their call, and join again"
  visit "v" {
    regions = ["east", "west", "onprem"]
    rtt     = { east = 5, west = 30, onprem = 40 }
    participant "clinician" {
      role = "provider"
      at   = "east-guest-1"
    }
    participant "patient" {
      role = "patient"
      at   = "east-guest-1"
    }
    participant "interpreter" {
      role    = "interpreter"
      at      = "west-guest-1"
      gateway = "west"
    }
    participant "family" {
      role    = "family"
      at      = "west-guest-1"
      gateway = "west"
    }
  }
  inject {
    verb   = "cut"
    target = visit.v.home
  }
  hold = "12s"
  targets {
    longest_gap      = "10s"
    recovered_within = "20s"
    signaling        = true
    rejoined_within  = "1m"
  }
}

drill "consul-servers-stopped" {
  description = "The Consul servers of the home region are killed: visits go on, and new people join"
  visit "v" {
    regions = ["east", "west", "onprem"]
    rtt     = { east = 5, west = 30, onprem = 40 }
    participant "clinician" {
      role = "provider"
      at   = "west-guest-1"
    }
    participant "patient" {
      role = "patient"
      at   = "onprem-guest-1"
    }
    participant "family" {
      role  = "family"
      at    = "east-guest-1"
      joins = "outage"
    }
  }
  inject {
    verb    = "kill"
    target  = "${visit.v.home}-server"
    process = "consul"
  }
  hold = "12s"
  targets {
    longest_gap      = "1s"
    recovered_within = "20s"
    joined_within    = "15s"
    signaling        = true
    resumed_on       = "same sfu"
  }
}

drill "nomad-servers-stopped" {
  description = "The Nomad servers of every region are killed: nothing that runs notices"
  visit "new" {
    regions = ["west", "onprem"]
    participant "clinician" {
      role  = "provider"
      at    = "west-guest-1"
      joins = "outage"
    }
    participant "patient" {
      role  = "patient"
      at    = "onprem-guest-1"
      joins = "outage"
    }
  }
  inject {
    verb    = "kill"
    target  = "east-server"
    process = "nomad"
  }
  inject {
    verb    = "kill"
    target  = "west-server"
    process = "nomad"
  }
  inject {
    verb    = "kill"
    target  = "onprem-server"
    process = "nomad"
  }
  hold = "12s"
  targets {
    longest_gap      = "1s"
    recovered_within = "20s"
    joined_within    = "10s"
    signaling        = true
    resumed_on       = "same sfu"
  }
}

drill "primary-lost" {
  description = "The primary Consul datacenter and authoritative Nomad region is lost: the others work, also for new visits"
  visit "v" {
    regions = ["west", "onprem"]
    rtt     = { west = 5, onprem = 40 }
    participant "clinician" {
      role = "provider"
      at   = "west-guest-1"
    }
    participant "patient" {
      role = "patient"
      at   = "onprem-guest-1"
    }
  }
  visit "new" {
    regions = ["west", "onprem"]
    participant "clinician" {
      role  = "provider"
      at    = "west-guest-1"
      joins = "outage"
    }
    participant "patient" {
      role  = "patient"
      at    = "onprem-guest-1"
      joins = "outage"
    }
  }
  inject {
    verb   = "power-off"
    target = "east"
  }
  hold = "12s"
  targets {
    longest_gap      = "1s"
    recovered_within = "20s"
    joined_within    = "15s"
    signaling        = true
    resumed_on       = "same sfu"
  }
}

drill "media-node-without-servers" {
  description = "A media node does not reach its Consul and Nomad servers for a while: it keeps its visit and is taken back"
  inject {
    verb   = "cut"
    target = visit.v.sfu.node
    peer   = "${visit.v.sfu.region}-server"
  }
  hold = "45s" # Nomad and Consul have given the node up by then; make it 10m for the whole promise
  targets {
    longest_gap      = "1s"
    recovered_within = "1m"
    signaling        = true
    resumed_on       = "same sfu"
  }
}
