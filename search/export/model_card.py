"""The description of an exported model: MODEL_CARD.md for people and metrics.json for programs."""

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

from fmnist.config import knob_fields
from fmnist.machine import processor
from search.export.formats import INT8, ONNX, PT2, WEIGHTS, WHAT
from search.export.latency import Latency
from search.export.parity import Parity, Quantised
from search.report.confusion import Confusion, most_confused
from search.report.data_tables import cleaning_sentences, kept_warnings
from search.report.render import escaped
from search.study.ensemble import ensemble_sentence, teachers_sentence
from search.study.paths import METRICS
from search.study.records import ClassScore, DataRecord, Environment, Final, FinalRun, Identity
from search.terminal.wording import counted, duration, f1, setting, visible

CARD = "MODEL_CARD.md"
NOT_FASHION_MNIST = (
    "SYNTHETIC DATA: this model was trained and tested on images drawn by code. No figure here is Fashion-MNIST's."
)
CONFUSIONS_SHOWN = 5
WEAKEST_SHOWN = 3  # classes
MISTAKES_SHOWN = 2  # for each of them


@dataclass(frozen=True)
class Budget:
    """The cost of the search."""

    trials: int  # complete, pruned or failed
    complete: int
    pruned: int
    failed: int
    sampler: str
    pruner: str
    confirmed: int  # configurations that were trained again on fresh seeds
    fresh_seeds: int  # for each of these
    search_seconds: float
    all_seconds: float  # including confirm and final


@dataclass(frozen=True)
class ModelFacts:
    """The facts that a study has on its exported model."""

    study: str
    data: DataRecord
    final: Final
    environment: Environment | None
    toml: str  # the winning configuration, as a study file
    other_toolkit: str | None = None  # the version that trained it, if knobs had another meaning in it
    budget: Budget | None = None
    identity: Identity | None = None  # identifies the study
    # The exported model's expected calibration error on the test split; None without its predictions.
    calibration_error: float | None = None
    error_without_temperature: float | None = None  # what that error would be; None also if there is no temperature
    fitted_on: str | None = None  # what the temperature was fitted on, in words; None if there is none

    @property
    def exported(self) -> FinalRun:
        """Return the final training that is exported."""
        return next(run for run in self.final.runs if run.seed == self.final.exported_seed)

    @property
    def version(self) -> str:
        """Return the version of this toolkit at the time of training."""
        return (self.environment.versions if self.environment else {}).get("fmnist-search", "not recorded")


def write_card(
    folder: Path,
    facts: ModelFacts,
    parities: Sequence[Parity],
    int8: Quantised | None = None,
    latencies: Sequence[Latency] = (),
) -> None:
    """Write MODEL_CARD.md and metrics.json to `folder`."""
    metrics = json.dumps(_metrics(facts, parities, int8, latencies), indent=2, allow_nan=False)
    (folder / METRICS).write_text(metrics + "\n", encoding="utf-8")
    (folder / CARD).write_text(_card(facts, parities, int8, latencies), encoding="utf-8")


def _metrics(
    facts: ModelFacts, parities: Sequence[Parity], int8: Quantised | None, latencies: Sequence[Latency]
) -> dict[str, Any]:
    """Return the metrics; `macro_f1` and `accuracy` are of the exported model, mean, sd and interval of all seeds."""
    final, run = facts.final, facts.exported
    return {
        **tested_on(facts),
        "macro_f1": run.macro_f1,
        "accuracy": run.accuracy,
        "seed": run.seed,
        "mean": final.mean,
        "sd": final.sd,
        "interval": [final.low, final.high],
        "level": final.level,
        "ensemble": final.ensemble.model_dump() if final.ensemble else None,  # of all seeds, not of this model
        "seeds": [run.seed for run in final.runs],
        "macro_f1_by_seed": [run.macro_f1 for run in final.runs],
        "teachers": final.teachers.model_dump(mode="json") if final.teachers else None,  # of this model, a student
        "classes": [score.model_dump() for score in final.classes],
        "confusion": final.confusion,
        "parameters": final.parameters,
        "flops": final.flops,
        "calibration_error": facts.calibration_error,
        "temperature": final.temperature,
        "temperature_fitted_on": facts.fitted_on,
        "calibration_error_without_temperature": facts.error_without_temperature,
        "budget": asdict(facts.budget) if facts.budget else None,
        "parity": [parity.as_json() for parity in parities],
        "int8": int8.as_json() if int8 else None,
        "latency": latency_facts(latencies),
    }


def tested_on(facts: ModelFacts) -> dict[str, Any]:
    """Return the study and the images that the scores in metrics.json are of."""
    return {
        "study": facts.study,
        "data": facts.data.name,
        "fingerprint": facts.data.fingerprint,
        "warning": NOT_FASHION_MNIST if facts.data.is_synthetic else None,
        "split": "test",
        "test_fingerprint": facts.data.test_fingerprint,
        "images": facts.final.test_images,
    }


def latency_facts(latencies: Sequence[Latency]) -> dict[str, Any] | None:
    """Return the latencies for metrics.json, with the processor and threads; None without any."""
    if not latencies:
        return None
    milliseconds = {latency.file: {"1": latency.single, "256": latency.batch} for latency in latencies}
    unsteady = [latency.file for latency in latencies if not latency.is_steady]
    return {
        "device": "cpu",
        "processor": processor(),
        "threads": latencies[0].threads,
        "milliseconds": milliseconds,
        "unsteady": unsteady,
    }


@dataclass(frozen=True)
class FileRow:
    """A row of the card's table of files."""

    name: str
    description: str
    bytes: int
    difference: float
    disagreements: str
    latency: Latency | None


def file_rows(parities: Sequence[Parity], int8: Quantised | None, latencies: Sequence[Latency]) -> list[FileRow]:
    """Return the rows of the card's table of files."""
    latency_of = {latency.file: latency for latency in latencies}
    compared: list[Parity | Quantised] = [*parities, *([int8] if int8 else [])]
    ties = {parity.file for parity in parities if parity.ties}
    return [
        FileRow(
            name=result.file,
            description=WHAT[result.file],
            bytes=result.bytes,
            difference=result.largest_difference,
            disagreements=f"{result.disagreements:,}{' (ties)' if result.file in ties else ''}",
            latency=latency_of.get(result.file),
        )
        for result in compared
    ]


def render(template: str, facts: ModelFacts, **figures: object) -> str:
    """Return the text of a card: of its template, what the study knows, and `figures`."""
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
    return templates.get_template(template).render(
        facts=facts,
        final=final,
        seeds=counted(len(final.runs), "seed"),
        size=final.config.size,
        knobs=[(name, getattr(final.config, name), field.description) for name, field in knob_fields().items()],
        warning=NOT_FASHION_MNIST if facts.data.is_synthetic else None,
        official=facts.data.is_fashion_mnist,
        kept_warnings=kept_warnings(cleaning) if cleaning else [],
        cleaning=cleaning,
        cleaning_sentences=cleaning_sentences(cleaning) if cleaning else [],
        data_options=_data_options(facts.data),
        teachers=teachers_sentence(final),
        changes=_changes(final),
        **figures,
    )


def _card(facts: ModelFacts, parities: Sequence[Parity], int8: Quantised | None, latencies: Sequence[Latency]) -> str:
    final, files = facts.final, file_rows(parities, int8, latencies)
    names = [file.name for file in files]
    return render(
        f"{CARD}.j2",
        facts,
        run=facts.exported,
        several=len(final.runs) > 1,
        ensemble=ensemble_sentence(final),
        weakest=_weakest(final),
        confusions=most_confused(final, CONFUSIONS_SHOWN),
        files=files,
        loaded=next((name for name in (ONNX, INT8, WEIGHTS, PT2) if name in names), None),
        compared=parities[0].images if parities else int8.images if int8 else 0,
        int8=int8,
        onnxruntime=version("onnxruntime"),
        speed=latency_facts(latencies),
    )


def _changes(final: Final) -> str:
    """Return the knobs in which a student differs from its teachers, and theirs: "filters 16 (48)"."""
    if final.teachers is None:
        return ""
    pairs = ((name, value, getattr(final.teachers.config, name)) for name, value in final.config)
    return ", ".join(f"{name} {setting(own)} ({setting(theirs)})" for name, own, theirs in pairs if own != theirs)


def _weakest(final: Final) -> list[tuple[ClassScore, list[Confusion]]]:
    """Return the classes with the lowest F1, each with its most frequent mistakes."""
    mistakes = most_confused(final, len(final.classes) ** 2)
    lowest = sorted(range(len(final.classes)), key=lambda index: final.classes[index].f1)[:WEAKEST_SHOWN]
    return [
        (final.classes[index], [mistake for mistake in mistakes if mistake.true == index][:MISTAKES_SHOWN])
        for index in lowest
    ]


def _data_options(data: DataRecord) -> str:
    """Return the command-line options that name the data, without their folders, which differ between machines."""
    test = f" --test {shlex.quote(Path(data.test_path).name)}" if data.test_path else ""
    options = visible(f"--data {shlex.quote(Path(data.path or data.name).name)}{test}")
    return options.replace("\n", " ")  # one line within a code block


def _quoted(text: str) -> str:
    """Return `text` as a YAML string, with non-printable characters escaped."""
    escaped_text = re.sub(r'["\\]', r"\\\g<0>", text)
    return '"' + "".join(char if char.isprintable() else f"\\U{ord(char):08X}" for char in escaped_text) + '"'
