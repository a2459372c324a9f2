"""Optuna's own tests of a storage pass on ours."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.testing.pytest_storages import StorageTestCase

from search.errors import StudyDeletedError
from search.storage.opening import open_storage
from search.storage.own_trials import OwnTrials

pytestmark = pytest.mark.slow


class _WithOptunasError(OwnTrials):
    """Says that a study or a trial is not there as Optuna does; ours says so in a sentence for the terminal."""

    def _ask(self, *work: Any, **again: Any) -> Any:
        try:
            return super()._ask(*work, **again)
        except StudyDeletedError as error:
            raise error.__cause__ or error from None


class TestOwnTrials(StorageTestCase):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[OwnTrials]:
        backend = open_storage(f"sqlite:///{tmp_path}/suite.db", create=True).backend
        yield _WithOptunasError(backend)
        backend.engine.dispose()

    test_pickle_storage = None  # type: ignore[assignment]  # a copy in another process would write the same trials
