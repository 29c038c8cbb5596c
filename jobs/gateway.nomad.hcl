# Gateways: pages, API, signaling, WHIP and WHEP of a region.
#
#   nomad job run -region=east -var artifact=https://... -var checksum=sha256:... jobs/gateway.nomad.hcl
#
# A service job: gateways keep nothing, any of them serves anyone, and media does not pass them.

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
  default     = "gateway"
  description = "Nomad node pool of the gateways."
}

variable "driver" {
  type        = string
  default     = "raw_exec"
  description = "Task driver. raw_exec sees the host's files: the authorities of Consul and Vault."
}

variable "gateways" {
  type        = number
  default     = 2
  description = "Gateways in the region, each on a node of its own; two survive the loss of one."
}

variable "http_port" {
  type        = number
  default     = 8443
  description = "TCP port of HTTPS and WebSockets, open to browsers."
}

variable "internal_port" {
  type        = number
  default     = 7101
  description = "TCP port for gateways of other regions (mutual TLS); where vault is set."
}

variable "admin_port" {
  type        = number
  default     = 7109
  description = "TCP port of /metrics, /live and /ready, for Consul's agent and Prometheus."
}

variable "public_url" {
  type        = string
  default     = ""
  description = "Base URL browsers reach this gateway at; its host and port are in join links. Empty: the node's address and http_port."
}

variable "regions" {
  type        = list(string)
  default     = []
  description = "Regions in order of preference where a token names none; empty: all federated ones by name."
}

variable "canary" {
  type        = number
  default     = 0
  description = "Gateways of a new version that run beside the old ones first; each needs a spare node, since the port is static."
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

variable "max_encounters" {
  type        = number
  default     = 50000
  description = "Encounters of one tenant in the region, each until 72 h after it is over; more are refused."
  validation {
    condition     = var.max_encounters >= 1
    error_message = "The max_encounters must be at least 1."
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

locals {
  public_url = var.public_url != "" ? var.public_url : "https://$${attr.unique.network.ip-address}:${var.http_port}"
}

job "gateway" {
  type        = "service"
  datacenters = ["*"]
  node_pool   = var.node_pool
  priority    = 80

  # One gateway at a time; a version whose checks do not pass is taken back.
  update {
    max_parallel      = 1
    canary            = var.canary
    auto_promote      = var.canary > 0
    auto_revert       = true
    health_check      = "checks"
    min_healthy_time  = "10s"
    healthy_deadline  = "3m"
    progress_deadline = "10m"
  }

  group "gateway" {
    count = var.gateways

    constraint {
      distinct_hosts = true
    }

    network {
      mode = "host"
      port "http" {
        static = var.http_port
      }
      port "internal" {
        static = var.internal_port
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
      name     = "wardline-gateway"
      provider = "consul"
      port     = "http"
      tags     = ["signaling"]

      meta {
        id       = "${node.unique.name}"
        region   = "${node.region}"
        url      = local.public_url
        internal = var.vault == "" ? "" : "${NOMAD_ADDR_internal}"
        version  = var.release
      }

      # Whether it takes visits: it runs, and some region keeps its records.
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

    task "gateway" {
      driver         = var.driver
      kill_signal    = "SIGTERM"
      kill_timeout   = "30s" # clients are told, and go on at another gateway
      shutdown_delay = "2s"  # out of the catalog first: nothing new is sent here meanwhile

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
          "gateway",
          "--register=false",
          "--id=${node.unique.name}",
          "--node=${node.unique.name}",
          "--region=${node.region}",
          "--http=${NOMAD_ADDR_http}",
          "--public-url=${local.public_url}",
          "--internal=${NOMAD_ADDR_internal}",
          "--regions=${join(",", var.regions)}",
          "--max-encounters=${var.max_encounters}",
          "--admin=${NOMAD_ADDR_admin}",
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
