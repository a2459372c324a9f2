"""The best value so far of a search, over what it had spent until then. No torch."""

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise

from search.report.page.paths import TrialPath

Step = tuple[float, float]  # what was spent until then, best value so far


def over_minutes(paths: Sequence[TrialPath], searched: float) -> list[Step]:
    """Return the best value so far over minutes since the first trial started.

    Args:
        searched: The seconds that the search took, over all its runs; 0 if they are not on record. What the trials
            span beyond these are pauses between runs, which are cut out of the longest times in which no trial started
            or ended.
    """
    at_work = _without_pauses(sorted({moment for path in paths for moment in path.ran or ()}), searched)
    return _best_so_far((at_work[end] / 60, path) for end, path in _by_end(paths))


def over_epochs(paths: Sequence[TrialPath]) -> list[Step]:
    """Return the best value so far over the epochs of all trials that had ended by then, pruned ones too."""
    ended = [path for _, path in _by_end(paths)]
    return _best_so_far(zip(accumulate(map(_epochs, ended)), ended, strict=True))


def epochs_trained(paths: Sequence[TrialPath]) -> int:
    """Return the epochs of all trials together."""
    return sum(map(_epochs, paths))


def _epochs(path: TrialPath) -> int:
    return path.curve[-1][0] if path.curve else 0


def _by_end(paths: Sequence[TrialPath]) -> list[tuple[float, TrialPath]]:
    """Return the trials that ran, with the moment when each ended, in that order."""
    return sorted(((path.ran[1], path) for path in paths if path.ran is not None), key=lambda pair: pair[0])


def _without_pauses(moments: Sequence[float], searched: float) -> dict[float, float]:
    """Map each moment to the seconds of work until then."""
    gaps = [after - before for before, after in pairwise(moments)]
    excess = max(0.0, sum(gaps) - searched) if searched else 0.0
    for place in sorted(range(len(gaps)), key=lambda place: -gaps[place]):
        cut = min(excess, gaps[place])
        gaps[place] -= cut
        excess -= cut
    return dict(zip(moments, accumulate(gaps, initial=0.0), strict=True)) if moments else {}


def _best_so_far(ended: Iterable[tuple[float, TrialPath]]) -> list[Step]:
    steps: list[Step] = []
    spent = 0.0
    for spent, path in ended:
        value = path.searched.value
        if path.counts and value is not None and (not steps or value > steps[-1][1]):
            steps.append((spent, value))
    return [*steps, (spent, steps[-1][1])] if steps else []
