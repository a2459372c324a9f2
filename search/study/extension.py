"""A study that goes on in a changed space: what may change, and what has changed."""

from search.errors import SearchError
from search.study.drift import require_same_set_up
from search.study.record import Record
from search.study.space import Space
from search.study.spec import StudySpec
from search.terminal.wording import extent, setting

# These propose from what they have kept of their own earlier proposals, in the space that these had.
TIED = ("grid", "cmaes", "nsga2")


class Extension(Record):
    """A change of the study's space after its search had begun."""

    KEY = "extensions"
    at: str
    trials: int  # that the study had before
    changes: tuple[str, ...]  # one for each knob, in words
    outside: tuple[int, ...]  # of these trials, those that are not in the space since then


def require_extensible(before: StudySpec, now: StudySpec, *, made_by: str, version: str) -> None:
    """Require that `now` differs from `before` in nothing but budget, description, and the space, which can be changed.

    Raises: SearchError with the differences, or why the space cannot be changed.
    """
    changed_only = before.model_copy(
        update={
            "knobs": now.knobs,
            "unlisted": now.unlisted,
            "prior": before.prior.model_copy(update={"configs": now.prior.configs}),
        }
    )
    require_same_set_up(changed_only, now, made_by=made_by, version=version)
    if not space_changes(before.space, now.space):
        return
    if before.epochs != now.epochs:
        raise SearchError(
            f"A study cannot be extended to other epochs, got {now.epochs} in place of {before.epochs}: its trials "
            "would have ended at different points of their learning rate schedules. Give --name for a new study."
        )
    if "latency_ms" in now.search.against:
        raise SearchError(
            "A study against latency_ms cannot be extended: its latencies follow from networks that were measured in "
            "the earlier space. Give --name for a new study, and --from for the trials of this one."
        )
    if now.search.sampler in TIED and now.search.pruner != "freeze-thaw":
        raise SearchError(
            f"A study cannot be extended if its sampler is {', '.join(TIED[:-1])} or {TIED[-1]}, got "
            f"{now.search.sampler}: it builds on its own proposals in the earlier space. Give --name for a new study."
        )


def space_changes(before: Space, now: Space) -> tuple[str, ...]:
    """Return in words what has changed, one entry for each knob."""
    return tuple(
        f"{name} {entry_in_words(now, name)} (before {entry_in_words(before, name)})"
        for name in differing_knobs(before, now)
    )


def differing_knobs(one: Space, other: Space) -> list[str]:
    """Return the knobs that are not searched over the same range, or not pinned to the same value, in both spaces."""
    return [
        name
        for name in dict.fromkeys([*one.knobs, *one.pinned, *other.knobs, *other.pinned])
        if other.knobs.get(name) != one.knobs.get(name) or other.value_of(name) != one.value_of(name)
    ]


def entry_in_words(space: Space, name: str) -> str:
    """Return the values of a searched knob, or the one value of another: "relu, silu", "0.001 to 0.1 log", "8"."""
    return extent(space.knobs[name]) if name in space.knobs else setting(space.value_of(name))
