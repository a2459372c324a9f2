"""The studies that ship, one TOML each."""
