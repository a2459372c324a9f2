"""What a person, and a program, must know of an exported model: MODEL_CARD.md and metrics.json."""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment as Templates
from jinja2 import PackageLoader, StrictUndefined

from fmnist.config import TrialConfig
from fmnist.machine import processor
from search.export.formats import INT8, ONNX, PT2, WEIGHTS, WHAT
from search.export.latency import Latency
from search.export.parity import Parity, Quantised
from search.report.confusion import Confusion, most_confused
from search.report.data_tables import cleaning_sentences, kept_warnings
from search.report.render import escaped
from search.study.records import ClassScore, DataRecord, Environment, Final, FinalRun, Identity
from search.terminal.wording import counted, duration, f1, setting, visible

CARD, METRICS = "MODEL_CARD.md", "metrics.json"
NOT_FASHION_MNIST = (
    "SYNTHETIC DATA: this model was trained and tested on images drawn by code. No figure here is Fashion-MNIST's."
)
SHOWN = 5  # confusions
WEAKEST = 3  # classes
TAKEN_FOR = 2  # classes that a weak one is most often taken for


@dataclass(frozen=True)
class Budget:
    """What the search took."""

    trials: int  # that count: complete, pruned or failed
    complete: int
    pruned: int
    failed: int
    sampler: str
    pruner: str
    confirmed: int  # configurations that were trained again on fresh seeds
    fresh_seeds: int  # of each of those
    search_seconds: float
    all_seconds: float  # with confirm and final


@dataclass(frozen=True)
class ModelFacts:
    """What a study knows of the model that it exports."""

    study: str
    data: DataRecord
    final: Final
    environment: Environment | None
    toml: str  # the winning configuration, as a study file
    budget: Budget | None = None
    identity: Identity | None = None  # by which the study is found again
    calibration_error: float | None = (
        None  # expected, of the exported model on the test split; None where its answers are not at hand
    )

    @property
    def exported(self) -> FinalRun:
        """The one of the final trainings that is exported."""
        return next(run for run in self.final.runs if run.seed == self.final.exported_seed)

    @property
    def version(self) -> str:
        """Of this toolkit, at the time of training."""
        return (self.environment.versions if self.environment else {}).get("fmnist-search", "not recorded")


def write_card(
    folder: Path,
    facts: ModelFacts,
    parities: Sequence[Parity],
    int8: Quantised | None = None,
    latencies: Sequence[Latency] = (),
) -> None:
    """MODEL_CARD.md and metrics.json are in `folder`."""
    metrics = json.dumps(_metrics(facts, parities, int8, latencies), indent=2, allow_nan=False)
    (folder / METRICS).write_text(metrics + "\n", encoding="utf-8")
    (folder / CARD).write_text(_card(facts, parities, int8, latencies), encoding="utf-8")


def _metrics(
    facts: ModelFacts, parities: Sequence[Parity], int8: Quantised | None, latencies: Sequence[Latency]
) -> dict[str, Any]:
    """`macro_f1` and `accuracy` are the exported model's; mean, sd and interval those of all seeds."""
    final, run = facts.final, facts.exported
    return {
        "study": facts.study,
        "data": facts.data.name,
        "fingerprint": facts.data.fingerprint,
        "warning": NOT_FASHION_MNIST if facts.data.is_synthetic else None,
        "split": "test",
        "test_fingerprint": facts.data.test_fingerprint,
        "images": final.test_images,
        "macro_f1": run.macro_f1,
        "accuracy": run.accuracy,
        "seed": run.seed,
        "mean": final.mean,
        "sd": final.sd,
        "interval": [final.low, final.high],
        "level": final.level,
        "seeds": [one.seed for one in final.runs],
        "macro_f1_by_seed": [one.macro_f1 for one in final.runs],
        "classes": [one.model_dump() for one in final.classes],
        "confusion": final.confusion,
        "parameters": final.parameters,
        "flops": final.flops,
        "calibration_error": facts.calibration_error,
        "budget": asdict(facts.budget) if facts.budget else None,
        "parity": [one.as_json() for one in parities],
        "int8": int8.as_json() if int8 else None,
        "latency": _latency(latencies),
    }


def _latency(latencies: Sequence[Latency]) -> dict[str, Any] | None:
    if not latencies:
        return None
    milliseconds = {one.file: {"1": one.one, "256": one.many} for one in latencies}
    unsteady = [one.file for one in latencies if not one.is_steady]
    return {
        "device": "cpu",
        "processor": processor(),
        "threads": latencies[0].threads,
        "milliseconds": milliseconds,
        "unsteady": unsteady,
    }


@dataclass(frozen=True)
class _File:
    """A row of the card's table of files."""

    name: str
    what: str
    bytes: int
    difference: float
    otherwise: str
    latency: Latency | None


def _files(parities: Sequence[Parity], int8: Quantised | None, latencies: Sequence[Latency]) -> list[_File]:
    latency = {one.file: one for one in latencies}
    every: list[Parity | Quantised] = [*parities, *([int8] if int8 else [])]
    ties = {one.file for one in parities if one.ties}
    return [
        _File(
            one.file,
            WHAT[one.file],
            one.bytes,
            one.largest_difference,
            f"{one.disagreements:,}{' (ties)' if one.file in ties else ''}",
            latency.get(one.file),
        )
        for one in every
    ]


def _card(facts: ModelFacts, parities: Sequence[Parity], int8: Quantised | None, latencies: Sequence[Latency]) -> str:
    templates = Templates(
        loader=PackageLoader("search.export"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    templates.filters |= {"f1": f1, "setting": setting, "duration": duration, "text": escaped, "yaml": _quoted}
    final, cleaning = facts.final, facts.data.cleaning
    files = _files(parities, int8, latencies)
    names = [one.name for one in files]
    return templates.get_template(f"{CARD}.j2").render(
        facts=facts,
        final=final,
        run=facts.exported,
        several=len(final.runs) > 1,
        seeds=counted(len(final.runs), "seed"),
        knobs=[(name, value, TrialConfig.model_fields[name].description) for name, value in final.config],
        weakest=_weakest(final),
        confusions=most_confused(final, SHOWN),
        files=files,
        loaded=next((name for name in (ONNX, INT8, WEIGHTS, PT2) if name in names), None),
        compared=parities[0].images if parities else int8.images if int8 else 0,
        int8=int8,
        onnxruntime=version("onnxruntime"),
        speed=_latency(latencies),
        warning=NOT_FASHION_MNIST if facts.data.is_synthetic else None,
        official=facts.data.is_fashion_mnist,
        flattered=kept_warnings(cleaning) if cleaning else [],
        cleaning=cleaning,
        cleaned=cleaning_sentences(cleaning) if cleaning else [],
        data_options=_data_options(facts.data),
    )


def _weakest(final: Final) -> list[tuple[ClassScore, list[Confusion]]]:
    """The classes of the lowest F1, each with what the exported model most often takes it for."""
    mistakes = most_confused(final, len(final.classes) ** 2)
    lowest = sorted(range(len(final.classes)), key=lambda index: final.classes[index].f1)[:WEAKEST]
    return [(final.classes[index], [one for one in mistakes if one.true == index][:TAKEN_FOR]) for index in lowest]


def _data_options(data: DataRecord) -> str:
    """What names the data on a command line; without their folders, which are those of another machine."""
    test = f" --test {shlex.quote(Path(data.test_path).name)}" if data.test_path else ""
    return visible(f"--data {shlex.quote(Path(data.path or data.name).name)}{test}").replace(
        "\n", " "
    )  # a line within a block of code


def _quoted(text: str) -> str:
    """As a string of YAML, and of JSON where all can be printed: what cannot is written as its number."""
    return (
        '"'
        + "".join(char if char.isprintable() else f"\\U{ord(char):08X}" for char in re.sub(r'["\\]', r"\\\g<0>", text))
        + '"'
    )
