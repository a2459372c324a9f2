"""A study: what it searches for, what it has recorded, and which runs are at work on it."""
