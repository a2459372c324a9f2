"""The result of the shipped study `baseline`, against which a report shows the classes of another study. No torch."""

from dataclasses import dataclass

from search.errors import SearchError
from search.study.records import DataRecord, Final
from search.study.study import Study, load_study, storage_names

NAME = "baseline"  # of the study; on data of one's own the name of the data follows, as in baseline-shop


@dataclass(frozen=True, slots=True)
class Baseline:
    """The result of a baseline study."""

    study: str
    final: Final


def read_baseline(study: Study) -> Baseline | None:
    """Return the tested baseline in the storage of `study` that has the same test images; None without one."""
    data = study.read(DataRecord)
    if not study.is_stored or data is None or data.test_fingerprint is None:
        return None
    for name in storage_names(study.storage):
        if name == study.name or not (name == NAME or name.startswith(f"{NAME}-")):
            continue
        other = load_study(study.storage, name)
        try:
            final, images = other.read(Final), other.read(DataRecord)
        except SearchError:  # of another version: as good as none, for a report of this study
            continue
        if final and images and _tested_on(images) == _tested_on(data):
            return Baseline(name, final)
    return None


def _tested_on(data: DataRecord) -> tuple[str | None, tuple[str, ...]]:
    return data.test_fingerprint, data.class_names
