# TURN relays: one on each node of the pool "relay" of a region.
#
#   nomad job run -region=east -var artifact=https://... -var checksum=sha256:... jobs/turn.nomad.hcl
#
# A system job, scaled apart from the media servers: capacity is the number of relay nodes in service.

variable "artifact" {
  type        = string
  description = "URL of the wardline binary, as go-getter takes it."
}

variable "checksum" {
  type        = string
  description = "Checksum of the binary: sha256:HEX."
  validation {
    condition     = substr(var.checksum, 0, 7) == "sha256:"
    error_message = "The checksum must be sha256:HEX."
  }
}

variable "release" {
  type        = string
  default     = "dev"
  description = "Version shown in Consul, such as 1.4.0."
}

variable "node_pool" {
  type        = string
  default     = "relay"
  description = "Nomad node pool whose nodes each run one relay."
}

variable "driver" {
  type        = string
  default     = "raw_exec"
  description = "Task driver. raw_exec sees the host's files: the authorities of Consul and Vault."
}

variable "turn_port" {
  type        = number
  default     = 3478
  description = "UDP and TCP port of the relay (RFC 8656)."
}

variable "turns_port" {
  type        = number
  default     = 5349
  description = "TCP port of the relay over TLS; 443 gets through more hospital firewalls."
}

variable "control_port" {
  type        = number
  default     = 7202
  description = "TCP port on which gateways command the relay (mutual TLS)."
}

variable "relay_ports" {
  type        = string
  default     = "49152-65535"
  description = "UDP ports relayed media leaves from, MIN-MAX. Outside Nomad's dynamic range."
  validation {
    condition     = try(parseint(split("-", var.relay_ports)[0], 10) <= parseint(split("-", var.relay_ports)[1], 10), false)
    error_message = "The relay_ports must be MIN-MAX, 1024 to 65535."
  }
}

variable "admin_port" {
  type        = number
  default     = 7309
  description = "TCP port of /metrics, /live and /ready, for Consul's agent and Prometheus."
}

variable "relay_ip" {
  type        = string
  default     = "$${attr.unique.network.ip-address}"
  description = "Address relayed media leaves from, as media servers see it."
}

variable "canary" {
  type        = number
  default     = 25
  description = "Percentage of nodes that get a new version first; the others follow once it is healthy. 0: one after the other."
}

variable "drain_timeout" {
  type        = string
  default     = "1h"
  description = "How long a stopping relay waits for its allocations to end. Clients need max_kill_timeout a minute above it."
  validation {
    condition     = can(timeadd("2000-01-01T00:00:00Z", var.drain_timeout))
    error_message = "The drain_timeout must be a duration with a unit, such as 90m or 1h30m."
  }
}

variable "consul" {
  type        = string
  default     = "https://$${attr.unique.network.ip-address}:8501"
  description = "This node's Consul agent."
}

variable "consul_ca_file" {
  type        = string
  default     = "/etc/consul.d/ca.pem"
  description = "Authority of Consul agents' certificates, on the node."
}

variable "vault" {
  type        = string
  default     = "https://vault.service.consul:8200"
  description = "The region's Vault, which keeps every secret. Empty: keys are files in data, which is not for patients."
  validation {
    condition     = var.vault == "" || substr(var.vault, 0, 8) == "https://" || substr(var.vault, 0, 2) == "$${"
    error_message = "The address of vault must be https://HOST:PORT, $${meta.NAME} of the node, or empty."
  }
}

variable "vault_ca_file" {
  type        = string
  default     = "/etc/vault.d/ca.pem"
  description = "Authority of Vault's certificate, on the node."
}

variable "data" {
  type        = string
  default     = "$${NOMAD_ALLOC_DIR}/data"
  description = "Folder for what is worth keeping over a restart; nothing secret as long as vault is set."
}

variable "log_level" {
  type        = string
  default     = "info"
  description = "debug, info, warn or error."
  validation {
    condition     = contains(["debug", "info", "warn", "error"], var.log_level)
    error_message = "The log_level must be debug, info, warn or error."
  }
}

variable "cpu" {
  type        = number
  default     = 1000
  description = "MHz reserved."
}

variable "memory" {
  type        = number
  default     = 512
  description = "MiB reserved."
}

job "turn" {
  type        = "system"
  datacenters = ["*"]
  node_pool   = var.node_pool
  priority    = 80

  # One relay at a time; a version whose checks do not pass is taken back.
  update {
    max_parallel      = 1
    canary            = var.canary
    auto_promote      = var.canary > 0
    auto_revert       = true
    health_check      = "checks"
    min_healthy_time  = "10s"
    healthy_deadline  = "3m"
    progress_deadline = "4h"
  }

  group "turn" {
    network {
      mode = "host"
      port "turn" {
        static = var.turn_port
      }
      port "turns" {
        static = var.turns_port
      }
      port "control" {
        static = var.control_port
      }
      port "admin" {
        static = var.admin_port
      }
    }

    # A node that lost its Nomad servers goes on, and is the one that stays when it is back.
    disconnect {
      lost_after = "24h"
      replace    = false
      reconcile  = "keep_original"
    }

    restart {
      attempts = 10
      interval = "10m"
      delay    = "2s"
      mode     = "delay"
    }

    service {
      name     = "wardline-turn"
      provider = "consul"
      port     = "turn"
      tags     = ["relay"]

      meta {
        id      = "${node.unique.name}"
        region  = "${node.region}"
        turn    = "${NOMAD_ADDR_turn}"
        turns   = "${NOMAD_ADDR_turns}"
        control = "${NOMAD_ADDR_control}"
        version = var.release
      }

      # Whether it may take new allocations. A relay that drains fails it, and keeps those it has.
      check {
        name      = "ready"
        type      = "http"
        port      = "admin"
        path      = "/ready"
        interval  = "2s"
        timeout   = "2s"
        on_update = "require_healthy"
      }

      # Whether it lives: one that does not answer for 30 s is told to stop, and started again when it has, after kill_timeout at most.
      check {
        name     = "live"
        type     = "http"
        port     = "admin"
        path     = "/live"
        interval = "5s"
        timeout  = "3s"
        check_restart {
          limit = 6
          grace = "30s"
        }
      }
    }

    task "turn" {
      driver         = var.driver
      kill_signal    = "SIGTERM"
      kill_timeout   = "${var.drain_timeout}1m" # a minute more, in one duration: Nomad must not end a drain that goes on
      shutdown_delay = "2s"                     # out of the catalog first: nothing new is sent here meanwhile

      artifact {
        source      = var.artifact
        destination = "local/wardline"
        mode        = "file"
        options {
          checksum = var.checksum
          archive  = "false"
        }
      }

      # Who this task is, to every region's Consul: a file, renewed by Nomad, never in the environment.
      identity {
        name        = "consul"
        aud         = ["consul.io"]
        file        = true
        ttl         = "1h"
        change_mode = "noop"
      }

      # And who it is to this region's Vault.
      identity {
        name        = "vault"
        aud         = ["vault.io"]
        file        = true
        ttl         = "1h"
        change_mode = "noop"
      }

      config {
        command = "local/wardline"
        args = concat([
          "turn",
          "--register=false",
          "--id=${node.unique.name}",
          "--node=${node.unique.name}",
          "--region=${node.region}",
          "--turn=${NOMAD_ADDR_turn}",
          "--turn-tls=${NOMAD_ADDR_turns}",
          "--control=${NOMAD_ADDR_control}",
          "--relay-ip=${var.relay_ip}",
          "--relay-ports=${var.relay_ports}",
          "--admin=${NOMAD_ADDR_admin}",
          "--drain-timeout=${var.drain_timeout}",
          "--consul=${var.consul}",
          "--consul-ca-file=${var.consul_ca_file}",
          "--consul-jwt-file=${NOMAD_SECRETS_DIR}/nomad_consul.jwt",
          "--consul-auth-method=nomad-${node.region}",
          "--data=${var.data}",
          "--log-level=${var.log_level}",
          ], var.vault == "" ? [] : [
          "--vault=${var.vault}",
          "--vault-ca-file=${var.vault_ca_file}",
          "--vault-jwt-file=${NOMAD_SECRETS_DIR}/nomad_vault.jwt",
        ])
      }

      resources {
        cpu    = var.cpu
        memory = var.memory
      }
    }
  }
}
