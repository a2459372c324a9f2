"""A page on which a person tries a model: a picture or a drawing, what the model makes of it, and what it was
taught.
"""
