# What a gateway writes in its own region only.

# The public halves of the region's token keys, for gateways of the others.
key_prefix "wardline/jwks/" {
  policy = "write"
}

# Which answers the API has given, so that a repeated request makes no second encounter.
key_prefix "wardline/idempotency/" {
  policy = "write"
}
