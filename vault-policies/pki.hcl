# One PKI role a component: it signs for the component's own name, NAME.wardline.internal, and for nobody else's.

locals {
  certificate = {
    ttl     = var.certificate_ttl
    max_ttl = var.certificate_ttl
    # Tolerates peers whose clock is behind.
    not_before_duration = 300
    key_type            = "ec"
    key_bits            = 256
    server_flag         = true
    client_flag         = true
    key_usage           = ["DigitalSignature"]

    allow_any_name              = false
    allow_bare_domains          = true
    allow_subdomains            = false
    allow_glob_domains          = false
    allow_wildcard_certificates = false
    enforce_hostnames           = true
    require_cn                  = true
    # Hours-long and many: they end by themselves and need not be kept.
    no_store       = true
    generate_lease = false
  }

  # Addresses cannot stand in for a component's name, which is all that mutual TLS looks at.
  reached_from_outside = { allow_localhost = true, allow_ip_sans = true }
  reached_from_inside  = { allow_localhost = false, allow_ip_sans = false }
}

object "wardline/pki/roles/gateway" {
  data = merge(local.certificate, local.reached_from_outside, {
    allowed_domains = concat(["gateway.wardline.internal"], var.gateway_hosts)
  })
}

object "wardline/pki/roles/sfu" {
  data = merge(local.certificate, local.reached_from_inside, {
    allowed_domains = ["sfu.wardline.internal"]
  })
}

object "wardline/pki/roles/turn" {
  data = merge(local.certificate, local.reached_from_outside, {
    allowed_domains = concat(["turn.wardline.internal"], var.turn_hosts)
  })
}

object "wardline/pki/roles/recorder" {
  data = merge(local.certificate, local.reached_from_inside, {
    allowed_domains = ["recorder.wardline.internal"]
  })
}

object "wardline/pki/roles/autoscaler" {
  data = merge(local.certificate, local.reached_from_inside, {
    allowed_domains = ["autoscaler.wardline.internal"]
  })
}
