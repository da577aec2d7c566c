"""Small models that memorise planted data, so that the truth about an audit is known."""
