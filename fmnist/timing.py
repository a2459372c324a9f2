"""Time measurements."""

import time
from collections.abc import Callable
from statistics import median

FEWEST = 5  # passes of a median, even if they exceed the time limit
TOLERANCE = 0.25  # relative difference of two measurements that agree
MOST = 6  # measurements


def median_ms(run: Callable[[], object], *, passes: int, seconds: float = float("inf")) -> float:
    """Return the milliseconds that `run` takes: the median of `passes` after warm-up, or of fewer within `seconds`."""
    durations: list[float] = []
    warm_up = passes // 3  # the first passes allocate memory and choose kernels
    begin = time.perf_counter()
    while len(durations) < passes + warm_up and (len(durations) < FEWEST + 1 or time.perf_counter() - begin < seconds):
        start = time.perf_counter()
        run()
        durations.append(time.perf_counter() - start)
    return 1000 * median(durations[min(warm_up, len(durations) - FEWEST) :])


def steady(measure: Callable[[], float]) -> tuple[float, bool]:
    """Measure until two consecutive values agree, and return the smaller one and True.

    After six measurements without agreement, return the smallest value and False. The smaller value is used because
    other work on the machine only makes measurements longer.
    """
    values = [measure()]
    while len(values) < MOST:
        values.append(measure())
        if max(values[-2:]) <= (1 + TOLERANCE) * min(values[-2:]):
            return min(values[-2:]), True
    return min(values), False
