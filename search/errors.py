"""The search's own error, a kind of FmnistError, so that one `except` at the edge catches both."""

from fmnist.errors import FmnistError


class SearchError(FmnistError):
    """A study, storage or command was asked for something it cannot do."""
