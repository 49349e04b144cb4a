"""What a user may set: fields, checks, TOML, command line."""
