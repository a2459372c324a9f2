"""The storage of a study: a database that may be unavailable for a while.

`opening` opens the database, `own_trials` writes to it.
"""
