"""What a study has found: its facts as tables, as Markdown, as one HTML page, and as lists on the command line."""
