"""The command line: one file a command. It checks what was asked and calls `job`; nothing else knows it."""
