"""What a study consists of: data, a grid of factors, seeds and attacks, declared in one TOML file."""
