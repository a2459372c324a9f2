"""What each of the winner's regularisers is worth: its score minus what it has without it, seed by seed. No torch."""

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

REGULARISERS = ("augmentation", "dropout", "l2", "batch_norm", "label_smoothing", "ema")
LEVEL = 0.95
MARKS: dict[str, Mark] = {"helps": "strong", "hurts": "alarm"}  # of a verdict
KEYS = ("without", "value", "macro_f1", "sd", "seeds", "diverged", "worth", "worth_sd", "worth_low", "worth_high")


@dataclass(frozen=True)
class Worth:
    """By how much the winner is better with the regulariser: the mean over seeds of the difference, and where it may
    lie.
    """

    without: str
    scores: tuple[float, ...]  # of the network without it
    differences: tuple[float, ...]  # one a seed that both were trained on
    diverged: int  # seeds with which the network without it did not train at all

    @property
    def mean(self) -> float | None:
        """None before both have a seed."""
        return fmean(self.differences) if self.differences else None

    @property
    def sd(self) -> float | None:
        """None with a single seed."""
        return stdev(self.differences) if len(self.differences) > 1 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of the mean, by Student's t; None with a single seed."""
        if self.mean is None or self.sd is None:
            return None
        from scipy.special import stdtrit

        count = len(self.differences)
        reach = float(stdtrit(count - 1, (1 + LEVEL) / 2)) * self.sd / sqrt(count)
        return self.mean - reach, self.mean + reach

    @property
    def verdict(self) -> Literal["diverges", "helps", "hurts", "unclear"]:
        """What the regulariser does to the score; "diverges" where a network without it did not train."""
        if self.diverged:
            return "diverges"
        low, high = self.interval or (0.0, 0.0)
        return "helps" if low > 0 else "hurts" if high < 0 else "unclear"


def neutral(knob: str) -> object:
    """The value of a knob that is as if it were absent."""
    return TrialConfig.model_fields[knob].default


def used(config: TrialConfig) -> tuple[str, ...]:
    """The regularisers that the configuration has switched on."""
    return tuple(knob for knob in REGULARISERS if getattr(config, knob) != neutral(knob))


def switched_off(config: TrialConfig, knob: str) -> TrialConfig:
    """The same configuration without that regulariser."""
    return TrialConfig.model_validate(config.model_dump() | {knob: neutral(knob)})


def worths(found: Ablation) -> tuple[Worth, ...]:
    """Of each regulariser that was switched off, the most valuable first."""
    whole = {run.seed: run.macro_f1 for run in _whole(found).runs}
    rows = [
        Worth(
            without=variant.without,
            scores=tuple(run.macro_f1 for run in variant.runs),
            differences=tuple(whole[run.seed] - run.macro_f1 for run in variant.runs if run.seed in whole),
            diverged=len(variant.diverged),
        )
        for variant in found.variants
        if variant.without is not None
    ]
    return tuple(sorted(rows, key=lambda row: float("-inf") if row.mean is None else row.mean, reverse=True))


def ablation_table(found: Ablation) -> Table:
    """The winner and, below, it without each regulariser: score, worth and what can be said of it."""
    whole, rows = _scores(_whole(found)), worths(found)
    lines: list[Row] = [("nothing", "", _spread(whole), "", "", "")]
    lines += [
        (row.without, setting(getattr(found.config, row.without)), _spread(row.scores), *_said(row)) for row in rows
    ]
    off = [knob for knob in REGULARISERS if knob not in used(found.config)]
    caption = (
        f"Trial {found.trial}, {counted(found.config.epochs, 'epoch')}, each variant on the same "
        f"{counted(len(whole), 'seed')}. Worth: the "
        f"winner minus the variant, seed by seed, with {100 * LEVEL:g} % interval; unclear where that holds 0, or one "
        "seed has none. "
        "The test split is not used."
    )
    caption += f" Not used by the winner: {', '.join(off)}." if off else ""
    marks = {(i, 3): MARKS[row.verdict] for i, row in enumerate(rows, start=1) if row.verdict in MARKS}
    title, columns = (
        "What each regulariser is worth, on the validation split",
        ("without", "was", "macro F1", "worth", "interval", "so"),
    )
    return Table(title, columns, lines, caption, frozenset({0, 1, 5}), marks, id="ablation")


def ablation_answer(found: Ablation) -> Answer:
    """The same for people and for programs."""
    whole = _scores(_whole(found))
    rows: list[Facts] = [_row(None, None, whole, len(_whole(found).diverged))]
    for one in worths(found):
        low, high = one.interval or (None, None)
        row = _row(one.without, getattr(found.config, one.without), one.scores, one.diverged)
        rows.append({**row, "worth": one.mean, "worth_sd": one.sd, "worth_low": low, "worth_high": high})
    return Answer([ablation_table(found)], KEYS, rows)


def _row(without: str | None, value: bool | float | None, scores: Sequence[float], diverged: int) -> Facts:
    return {
        "without": without,
        "value": value,
        "macro_f1": fmean(scores) if scores else None,
        "sd": stdev(scores) if len(scores) > 1 else None,
        "seeds": len(scores),
        "diverged": diverged,
    }


def _whole(found: Ablation) -> Variant:
    return next((variant for variant in found.variants if variant.without is None), Variant(without=None))


def _scores(variant: Variant) -> tuple[float, ...]:
    return tuple(run.macro_f1 for run in variant.runs)


def _spread(scores: Sequence[float]) -> str:
    if not scores:
        return "-"
    return f1(fmean(scores)) + (f" ± {f1(stdev(scores))}" if len(scores) > 1 else "")


def _said(row: Worth) -> tuple[str, str, str]:
    so = f"diverges with {counted(row.diverged, 'seed')}" if row.diverged else row.verdict
    if row.mean is None:
        return "-", "-", so if row.diverged else "not trained yet"
    return f"{row.mean:+.4f}", "-" if row.interval is None else "[{:+.4f}, {:+.4f}]".format(*row.interval), so
