"""A study resumes only with the same space, seeds, data and toolkit: otherwise its trials are not comparable."""

import difflib
from collections.abc import Mapping

from search.errors import SearchError
from search.study.records import DataRecord
from search.study.spec import StudySpec

BUDGET_KEYS = {"trials", "minutes"}
SPACE = ("knobs.", "unlisted ")  # how the lines of the space begin
# What the minutes of a whole job decide, besides the epochs of a trial.
DECIDED = {"limits": {"max_flops"}, "prior": {"configs"}, "confirm": {"top", "seeds", "epochs"}, "final": {"epochs"}}


def require_same_set_up(before: StudySpec, now: StudySpec, *, made_by: str, version: str) -> None:
    """Require that only budget and description differ, and that toolkit version `made_by` is compatible.

    Raises: SearchError with the differences.
    """
    decided = DECIDED if now.budget.minutes is not None else {}
    stored, requested = (
        [f"toolkit = {compatible(toolkit)!r}", *_identity(spec, decided)]
        for toolkit, spec in ((made_by, before), (version, now))
    )
    if stored != requested:
        diff = difflib.unified_diff(stored, requested, "in the storage", "asked for", lineterm="", n=0)
        lines = "\n".join(f"  {line}" for line in diff if not line.startswith("@@"))
        is_space = all(line.startswith(SPACE) for line in set(stored) ^ set(requested))
        extend = ", --extend to go on in another space" if is_space else ""
        raise SearchError(
            f"The study {now.name!r} exists with another set-up. Give --name for a new study{extend}, or run it with "
            f"the stored one:\n{lines}"
        )


def require_same_data(study: str, stored: DataRecord, data: DataRecord) -> None:
    """Require that the images are those that the study was created with.

    Raises: SearchError with both fingerprints.
    """
    splits = [
        ("training images", stored.fingerprint, data.fingerprint),
        ("test images", stored.test_fingerprint, data.test_fingerprint),
    ]
    for split, before, now in splits:
        if before and before != now:
            raise SearchError(
                f"The study {study!r} was made on other {split}: {stored.name} had the fingerprint {before}, "
                f"{data.name} has {now}. Give --name for a new study, or restore the original data."
            )


def compatible(version: str) -> str:
    """Return the part that versions with comparable trials share: the major number, before 1.0 also the minor one."""
    major, minor, *_ = version.split(".")
    return f"{major}.{minor}" if major == "0" else major


def _identity(spec: StudySpec, decided: Mapping[str, set[str]]) -> list[str]:
    values = spec.model_dump(exclude_none=True, exclude={"description", "budget"})
    for section, keys in ({"search": BUDGET_KEYS} | dict(decided)).items():
        for key in keys:
            values[section].pop(key, None)
    return _lines(values)


def _lines(values: dict[str, object], prefix: str = "") -> list[str]:
    lines: list[str] = []
    for key, value in sorted(values.items()):
        lines += _lines(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key} = {value!r}"]
    return lines
