"""How text, figures and tables look in a terminal."""
