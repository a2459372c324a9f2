"""Studies and trials as tables for people and rows for programs, for the commands that look and change nothing."""
