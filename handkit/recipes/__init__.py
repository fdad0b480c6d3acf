"""One TOML per published run."""
