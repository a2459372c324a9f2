"""Studies and trials as tables for people and rows for programs, for the read-only commands."""
