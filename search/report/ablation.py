"""The worth of each of the winner's regularisers: its score minus the score without it, seed by seed. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev
from typing import Literal

from fmnist.config import TrialConfig
from search.report.lists.answer import Answer, Facts
from search.study.records import Ablation, Variant
from search.terminal.table import Mark, Row, Table
from search.terminal.wording import counted, f1, setting

REGULARISERS = (
    *("augmentation", "flip", "shift", "erase", "mixup"),
    *("dropout", "l2", "batch_norm", "label_smoothing", "class_weights", "ema"),
)
LEVEL = 0.95
MARKS: dict[str, Mark] = {"helps": "strong", "hurts": "alarm"}  # of a verdict
KEYS = ("without", "value", "macro_f1", "sd", "seeds", "diverged", "worth", "worth_sd", "worth_low", "worth_high")


@dataclass(frozen=True)
class Worth:
    """How much better the winner is with a regulariser: the mean difference over seeds and its interval."""

    without: str
    scores: tuple[float, ...]  # of the network without it
    differences: tuple[float, ...]  # one for each seed that both were trained on
    diverged: int  # seeds with which the training without it diverged

    @property
    def mean(self) -> float | None:
        """Return the mean difference; None until both have a seed in common."""
        return fmean(self.differences) if self.differences else None

    @property
    def sd(self) -> float | None:
        """Return the standard deviation of the differences; None with a single seed."""
        return stdev(self.differences) if len(self.differences) > 1 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Return the interval of the mean by Student's t; None with a single seed."""
        if self.mean is None or self.sd is None:
            return None
        from scipy.special import stdtrit

        count = len(self.differences)
        reach = float(stdtrit(count - 1, (1 + LEVEL) / 2)) * self.sd / sqrt(count)
        return self.mean - reach, self.mean + reach

    @property
    def verdict(self) -> Literal["diverges", "helps", "hurts", "unclear"]:
        """Return what the regulariser does to the score; "diverges" if a training without it diverged."""
        if self.diverged:
            return "diverges"
        low, high = self.interval or (0.0, 0.0)
        return "helps" if low > 0 else "hurts" if high < 0 else "unclear"


def neutral(knob: str) -> object:
    """Return the value of a knob that switches it off."""
    return TrialConfig.model_fields[knob].default


def used(config: TrialConfig) -> tuple[str, ...]:
    """Return the regularisers that the configuration switches on."""
    return tuple(knob for knob in REGULARISERS if getattr(config, knob) != neutral(knob))


def switched_off(config: TrialConfig, knob: str) -> TrialConfig:
    """Return the configuration without that regulariser."""
    return TrialConfig.model_validate(config.model_dump() | {knob: neutral(knob)})


def worths(ablation: Ablation) -> tuple[Worth, ...]:
    """Return the worth of each regulariser that was switched off, the largest first."""
    reference = {run.seed: run.macro_f1 for run in _reference(ablation).runs}
    rows = [
        Worth(
            without=variant.without,
            scores=tuple(run.macro_f1 for run in variant.runs),
            differences=tuple(reference[run.seed] - run.macro_f1 for run in variant.runs if run.seed in reference),
            diverged=len(variant.diverged),
        )
        for variant in ablation.variants
        if variant.without is not None
    ]
    return tuple(sorted(rows, key=lambda row: float("-inf") if row.mean is None else row.mean, reverse=True))


def ablation_table(ablation: Ablation) -> Table:
    """Return a table of the winner's score, its score without each regulariser, the worth and the verdict."""
    reference, rows = _scores(_reference(ablation)), worths(ablation)
    cells: list[Row] = [("nothing", "", _spread(reference), "", "", "")]
    cells += [
        (row.without, setting(getattr(ablation.config, row.without)), _spread(row.scores), *_worth_cells(row))
        for row in rows
    ]
    unused = [knob for knob in REGULARISERS if knob not in used(ablation.config)]
    caption = (
        f"Trial {ablation.trial}, {counted(ablation.config.epochs, 'epoch')}, each variant on the same "
        f"{counted(len(reference), 'seed')}. Worth: the winner minus the variant, seed by seed, with its "
        f"{100 * LEVEL:g} % interval; unclear if the interval contains 0 or there is one seed only. The test split is "
        "not used."
    )
    caption += f" Not used by the winner: {', '.join(unused)}." if unused else ""
    marks = {(i, 3): MARKS[row.verdict] for i, row in enumerate(rows, start=1) if row.verdict in MARKS}
    title = "What each regulariser is worth, on the validation split"
    columns = ("without", "was", "macro F1", "worth", "interval", "so")
    return Table(title, columns, cells, caption, frozenset({0, 1, 5}), marks, id="ablation")


def ablation_answer(ablation: Ablation) -> Answer:
    """Return the ablation as a table for people and rows for programs."""
    reference = _reference(ablation)
    rows: list[Facts] = [_row(None, None, _scores(reference), len(reference.diverged))]
    for worth in worths(ablation):
        low, high = worth.interval or (None, None)
        row = _row(worth.without, getattr(ablation.config, worth.without), worth.scores, worth.diverged)
        rows.append({**row, "worth": worth.mean, "worth_sd": worth.sd, "worth_low": low, "worth_high": high})
    return Answer([ablation_table(ablation)], KEYS, rows)


def _row(without: str | None, value: bool | float | None, scores: Sequence[float], diverged: int) -> Facts:
    return {
        "without": without,
        "value": value,
        "macro_f1": fmean(scores) if scores else None,
        "sd": stdev(scores) if len(scores) > 1 else None,
        "seeds": len(scores),
        "diverged": diverged,
    }


def _reference(ablation: Ablation) -> Variant:
    return next((variant for variant in ablation.variants if variant.without is None), Variant(without=None))


def _scores(variant: Variant) -> tuple[float, ...]:
    return tuple(run.macro_f1 for run in variant.runs)


def _spread(scores: Sequence[float]) -> str:
    if not scores:
        return "-"
    return f1(fmean(scores)) + (f" ± {f1(stdev(scores))}" if len(scores) > 1 else "")


def _worth_cells(worth: Worth) -> tuple[str, str, str]:
    verdict = f"diverges with {counted(worth.diverged, 'seed')}" if worth.diverged else worth.verdict
    if worth.mean is None:
        return "-", "-", verdict if worth.diverged else "not trained yet"
    return (
        f"{worth.mean:+.4f}",
        "-" if worth.interval is None else "[{:+.4f}, {:+.4f}]".format(*worth.interval),
        verdict,
    )
