"""Small models that memorise, made from planted data: where the truth about an audit comes from."""
