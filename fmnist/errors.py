"""The error for what a user can correct."""


class FmnistError(Exception):
    """An invalid input; the message gives the rule, the value received and the next step.

    The command line prints the message and exits with 2. Other exceptions are bugs and keep their traceback.
    """
