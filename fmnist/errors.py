"""The error a user can do something about."""


class FmnistError(Exception):
    """A rule was broken from outside: the message gives the rule, the value received and the next step.

    The command line prints it as one line and exits with 2; anything else that escapes is a bug and keeps its
    traceback.
    """
