"""How long something takes here."""

import time
from collections.abc import Callable
from statistics import median

FEWEST = 5  # passes that a median is taken of, however long they take


def median_ms(run: Callable[[], object], *, passes: int, seconds: float = float("inf")) -> float:
    """Milliseconds that `run` takes once it is warm: the median of so many passes, or of those that fit into so many seconds."""
    taken: list[float] = []
    warm_up = passes // 3  # the first ones allocate and choose kernels
    begun = time.perf_counter()
    while len(taken) < passes + warm_up and (len(taken) < FEWEST + 1 or time.perf_counter() - begun < seconds):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return 1000 * median(taken[min(warm_up, len(taken) - FEWEST) :])
