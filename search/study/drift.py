"""A study goes on only as it began: with the same space, seeds, data and toolkit. Otherwise its trials could not be
compared.
"""

import difflib

from search.errors import SearchError
from search.study.records import DataRecord
from search.study.spec import StudySpec

BUDGET_KEYS = {"trials", "minutes"}


def require_same_set_up(before: StudySpec, now: StudySpec, *, made_by: str, version: str) -> None:
    """Nothing but the budget and the description differs, and the toolkit that made the study, by its version, is a
    compatible one.

    Raises: SearchError with what differs.
    """
    kept, asked = (
        [f"toolkit = {_compatible(each)!r}", *_identity(spec)] for each, spec in ((made_by, before), (version, now))
    )
    if kept != asked:
        diff = difflib.unified_diff(kept, asked, "in the storage", "asked for", lineterm="", n=0)
        lines = "\n".join(f"  {line}" for line in diff if not line.startswith("@@"))
        raise SearchError(
            f"The study {now.name!r} exists with another set-up. Give --name for a new study, or run it as it "
            f"was:\n{lines}"
        )


def require_same_data(study: str, kept: DataRecord, data: DataRecord) -> None:
    """The images are those that the study was made on.

    Raises: SearchError with both fingerprints.
    """
    splits = [
        ("training images", kept.fingerprint, data.fingerprint),
        ("test images", kept.test_fingerprint, data.test_fingerprint),
    ]
    for split, before, now in splits:
        if before and before != now:
            raise SearchError(
                f"The study {study!r} was made on other {split}: those of {kept.name} had the fingerprint {before}, "
                f"now those of {data.name} have {now}. Give --name for a new study, or the data as they were."
            )


def _compatible(version: str) -> str:
    """What versions whose trials can be compared have in common: the major number, and before 1.0 the minor one,
    too.
    """
    major, minor, *_ = version.split(".")
    return f"{major}.{minor}" if major == "0" else major


def _identity(spec: StudySpec) -> list[str]:
    values = spec.model_dump(exclude_none=True, exclude={"description"})
    for key in BUDGET_KEYS:
        values["search"].pop(key, None)
    return _lines(values)


def _lines(values: dict[str, object], prefix: str = "") -> list[str]:
    lines: list[str] = []
    for key, value in sorted(values.items()):
        lines += _lines(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key} = {value!r}"]
    return lines
