"""The settings: fields, checks, TOML, command line."""
