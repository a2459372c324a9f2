"""The front of a search against costs as a table."""

from collections.abc import Sequence

from search.report.facts import Report
from search.report.front import PointOfFront
from search.samplers.names import UNITS
from search.study.front import FrontStep
from search.terminal.table import Mark, Table
from search.terminal.wording import amount, counted, f1


def front_table(report: Report) -> Table | None:
    """Return a row for each tested point, the cheapest first; None without a front."""
    if not report.front:
        return None
    costs = tuple(report.front[0].costs)
    rows = [_row(point, costs) for point in report.front]
    marks: dict[tuple[int, int], Mark] = {
        (i, j): "strong" for i, point in enumerate(report.front) if point.is_winner for j in (0, len(costs) + 2)
    }
    level = 100 * report.final.level if report.final else 95
    steps = [point.step for point in report.front if point.step]
    real = sum(is_real(step) for step in steps)
    caption = (
        f"The points of the front, each trained again with {counted(report.front[0].seeds, 'seed')}; the test split "
        "was opened once for all. Step: the difference from the last row above that costs no more, on the same images; "
        f"{real} of {counted(len(steps), 'step')} {'has' if real == 1 else 'have'} a paired {level:g} % interval "
        "without 0. The models of a point are in points/trial-N, those of the best in the study's folder."
    )
    if report.latency:
        error = "" if report.latency.error is None else f"; median error {100 * report.latency.error:.0f} %"
        caption += (
            f" latency_ms: of one image on {report.latency.place}, predicted from its layers by "
            f"{counted(report.latency.networks, 'measured network')}{error}."
        )
    columns = ("trial", *costs, "validation", "test F1", "sd", "interval", "step", "of the step")
    spare = (columns.index("of the step"), columns.index("interval"))
    return Table("Front, on the test split", columns, rows, caption, marks=marks, spare=spare, id="front")


def front_sentence(front: Sequence[PointOfFront]) -> str:
    """Return how the result lies on its front; "" without one."""
    if not front:
        return ""
    return f"It is the best of a front of {counted(len(front), 'tested point')} with {costs_in_words(front)}."


def costs_in_words(front: Sequence[PointOfFront]) -> str:
    """Return the range of each cost of the front, such as "4,266 to 9,098 parameters"."""
    ranges = []
    for cost in front[0].costs:
        costs = [point.costs[cost] for point in front]
        ranges.append(f"{amount(min(costs))} to {amount(max(costs))} {UNITS[cost]}")
    return " and ".join(ranges)


def is_real(step: FrontStep) -> bool:
    """Whether the interval of the step excludes 0."""
    return step.low > 0 or step.high < 0


def _row(point: PointOfFront, costs: tuple[str, ...]) -> tuple[str, ...]:
    step = point.step
    return (
        str(point.trial),
        *(f"{amount(point.costs[cost])}" for cost in costs),
        f1(point.validation),
        f1(point.mean),
        f1(point.sd),
        f"{f1(point.low)} to {f1(point.high)}",
        "" if step is None else f"{step.difference:+.4f}",
        "" if step is None else f"{step.low:+.4f} to {step.high:+.4f}",
    )
