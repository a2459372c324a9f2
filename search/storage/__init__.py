"""Where a study is kept: a database that may be away for a while, and a journal beside it. Opened by `opening`, written
by `own_trials`.
"""
