"""The format of text, figures and tables in a terminal."""
