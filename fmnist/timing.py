"""How long something takes here."""

import time
from collections.abc import Callable
from statistics import median

FEWEST = 5  # passes that a median is taken of, however long they take
APART = 0.25  # share by which two measurements of a steady machine may differ
MOST = 6  # measurements


def median_ms(run: Callable[[], object], *, passes: int, seconds: float = float("inf")) -> float:
    """Milliseconds that `run` takes once it is warm: the median of so many passes, or of those that fit into so many
    seconds.
    """
    taken: list[float] = []
    warm_up = passes // 3  # the first ones allocate and choose kernels
    begun = time.perf_counter()
    while len(taken) < passes + warm_up and (len(taken) < FEWEST + 1 or time.perf_counter() - begun < seconds):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return 1000 * median(taken[min(warm_up, len(taken) - FEWEST) :])


def steady(measure: Callable[[], float]) -> tuple[float, bool]:
    """The smaller of two measurements in a row that differ by at most a quarter, and True; of six that never did, the
    smallest and False.

    Other work on the machine makes a measurement longer, never shorter.
    """
    taken = [measure()]
    while len(taken) < MOST:
        taken.append(measure())
        if max(taken[-2:]) <= (1 + APART) * min(taken[-2:]):
            return min(taken[-2:]), True
    return min(taken), False
