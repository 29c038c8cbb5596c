# Who a workload is, by the identity that the region's Nomad signs: one JWT role a component.

locals {
  workload = {
    role_type               = "jwt"
    bound_audiences         = ["vault.io"]
    user_claim              = "/nomad_job_id"
    user_claim_json_pointer = true
    # The subject says region and namespace; the exact claims keep a job with a colon in its name from passing.
    bound_claims_type = "glob"

    token_type              = "service"
    token_ttl               = 3600
    token_max_ttl           = 24 * 3600
    token_no_default_policy = true
  }
}

object "auth/jwt-nomad/config" {
  data = {
    jwks_url               = var.jwks_url
    jwks_ca_pem            = var.jwks_ca_pem
    jwt_validation_pubkeys = var.jwt_keys
    jwt_supported_algs     = ["RS256", "EdDSA"]
    default_role           = ""
  }
}

object "auth/jwt-nomad/role/gateway" {
  data = merge(local.workload, {
    bound_claims = {
      sub             = "${var.region}:${var.namespace}:gateway:gateway:gateway:*"
      nomad_namespace = var.namespace
      nomad_job_id    = "gateway"
      nomad_task      = "gateway"
    }
    token_policies = ["wardline-gateway"]
  })
}

object "auth/jwt-nomad/role/sfu" {
  data = merge(local.workload, {
    bound_claims = {
      sub             = "${var.region}:${var.namespace}:sfu:sfu:sfu:*"
      nomad_namespace = var.namespace
      nomad_job_id    = "sfu"
      nomad_task      = "sfu"
    }
    token_policies = ["wardline-sfu"]
  })
}

object "auth/jwt-nomad/role/turn" {
  data = merge(local.workload, {
    bound_claims = {
      sub             = "${var.region}:${var.namespace}:turn:turn:turn:*"
      nomad_namespace = var.namespace
      nomad_job_id    = "turn"
      nomad_task      = "turn"
    }
    token_policies = ["wardline-turn"]
  })
}

object "auth/jwt-nomad/role/recorder" {
  data = merge(local.workload, {
    bound_claims = {
      sub             = "${var.region}:${var.namespace}:recorder:recorder:recorder:*"
      nomad_namespace = var.namespace
      nomad_job_id    = "recorder"
      nomad_task      = "recorder"
    }
    token_policies = ["wardline-recorder"]
  })
}

object "auth/jwt-nomad/role/autoscaler" {
  data = merge(local.workload, {
    bound_claims = {
      sub             = "${var.region}:${var.namespace}:autoscaler:autoscaler:autoscaler:*"
      nomad_namespace = var.namespace
      nomad_job_id    = "autoscaler"
      nomad_task      = "autoscaler"
    }
    token_policies = ["wardline-autoscaler"]
  })
}

object "auth/jwt-nomad/role/rotator" {
  data = merge(local.workload, {
    bound_claims = {
      sub             = "${var.region}:${var.namespace}:rotator:rotator:rotator:*"
      nomad_namespace = var.namespace
      nomad_job_id    = "rotator"
      nomad_task      = "rotator"
    }
    token_policies = ["wardline-rotator"]
  })
}

object "auth/jwt-nomad/role/backup" {
  data = merge(local.workload, {
    bound_claims = {
      sub             = "${var.region}:${var.namespace}:backup:backup:backup:*"
      nomad_namespace = var.namespace
      nomad_job_id    = "backup"
      nomad_task      = "backup"
    }
    token_policies = ["wardline-backup"]
  })
}
