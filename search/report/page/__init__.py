"""A study as an HTML page: `html` writes it, `sections` lists its contents."""
