"""The search's own errors, kinds of FmnistError, so that one `except` at the edge catches all."""

from fmnist.errors import FmnistError


class SearchError(FmnistError):
    """A study, storage or command was asked for something it cannot do."""


class AnotherRunError(SearchError):
    """The search is over, and another run brings the study to its end, or has brought it there."""


class StudyDeletedError(SearchError):
    """Another program deleted the study, or a trial of it, while it was in use."""


class StorageLostError(SearchError):
    """The storage was lost while it was in use. The same command resumes the study from what it holds."""
