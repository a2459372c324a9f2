"""A study as one HTML page: `html` writes it, `sections` says what it holds."""
