"""The results of a study as tables, as Markdown, as an HTML page, and as lists on the command line."""
