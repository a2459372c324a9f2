"""The sections of a study's TOML."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    create_model,
    model_serializer,
    model_validator,
)

from fmnist.config import TrialConfig, knob_fields
from fmnist.size import Channels, Side, Size
from search.samplers.names import Cost, Pruner, Sampler


class Section(BaseModel):
    """A table of a study, whose keys and types are checked strictly."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


TIME_IN_WORDS = 'minutes, such as 10, or a time such as "90s", "10m" or "1h30m", of at least a second'
_UNITS = {"s": 1 / 60, "m": 1.0, "min": 1.0, "h": 60.0}
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h)?\s*")


def _in_minutes(received: Any) -> float:
    """Return a time such as 10, "10", "90s" or "1h30m" in minutes."""
    text = str(received).strip().lower()
    parts = _TIME.findall(text)
    is_time = bool(parts) and "".join(found.group() for found in _TIME.finditer(text)) == text
    if isinstance(received, bool) or not is_time or any(not unit for _, unit in parts[1:]):
        raise ValueError(TIME_IN_WORDS)
    minutes = sum(float(number) * _UNITS[unit or "m"] for number, unit in parts)
    if not 1 / 60 <= minutes <= 10_000_000:
        raise ValueError(TIME_IN_WORDS)
    return minutes


class BudgetSection(Section):
    """The wall clock of the whole job, over all its runs. What follows from it: search/job/minutes.py."""

    minutes: Annotated[float, BeforeValidator(_in_minutes), Field(description=TIME_IN_WORDS)] | None = None
    target: Annotated[float, Field(gt=0, lt=1)] | None = None  # macro F1 on validation, at which the job ends early


class SearchSection(Section):
    """The budget and the method of the search."""

    trials: Annotated[int, Field(ge=1, le=1_000_000)]
    minutes: Annotated[float, Field(gt=0, le=10_000_000)] | None = None
    sampler: Sampler = "tpe"
    pruner: Pruner = "percentile"
    # With freeze-thaw the search ends when all that is left of its budget promises less than the deviation between
    # seeds, divided by this; inf never ends it early.
    patience: Annotated[float, Field(gt=0)] | None = None
    # With costs the search is for their front: the best F1 that a network of at most so much can have.
    against: Annotated[tuple[Cost, ...], Field(strict=False, max_length=2)] = ()
    # For each of them: networks that cost less count as if they cost so much, so no time is spent on what is too small.
    floor: Annotated[
        tuple[Annotated[float, Field(gt=0, allow_inf_nan=False, strict=False)], ...], Field(strict=False)
    ] = ()

    @model_validator(mode="after")
    def _modelled(self) -> Self:
        if self.pruner == "freeze-thaw" and self.sampler != "gp":
            raise ValueError('a section with sampler = "gp" if its pruner is "freeze-thaw", whose model also proposes')
        if self.patience is not None and self.pruner != "freeze-thaw":
            raise ValueError('a section with pruner = "freeze-thaw" if it has patience: other searches have no model')
        if self.against and self.pruner != "freeze-thaw":
            raise ValueError('a section with sampler = "gp" and pruner = "freeze-thaw" if it is against a cost')
        if len(set(self.against)) < len(self.against):
            raise ValueError("a section that names each cost only once")
        if len(self.floor) not in (0, len(self.against)):
            raise ValueError("a section whose floor has one number for each cost under against, or is left out")
        return self


class DataSection(Section):
    """The size of the images: pixels of each side, and channels, 1 for grey or 3 for colour. Others are scaled to it.

    It is part of every configuration of the study, and no knob: scores on images of other sizes are not comparable.
    """

    side: Side = 28
    channels: Channels = 1

    @property
    def size(self) -> Size:
        """The size of the images."""
        return Size(self.side, self.channels)


class LimitsSection(Section):
    """Limits on a network's cost. Trials over a limit are not trained, and the sampler learns to avoid them."""

    max_params: Annotated[int, Field(ge=1, le=10**15)] | None = None
    max_size: Annotated[int, Field(ge=1, le=10**15)] | None = None  # bytes of the weights in float32
    max_flops: Annotated[int, Field(ge=1, le=10**18)] | None = None  # to score an image
    # Of one image, on a worker's device and threads.
    max_latency_ms: Annotated[float, Field(gt=0, le=1_000_000)] | None = None


class ConfirmSection(Section):
    """The `top` trials are retrained with `seeds` fresh seeds; the best mean wins. With 0 seeds the best trial wins.

    With `epochs` they train longer than in the search: what is best after few epochs need not be after many.
    """

    top: Annotated[int, Field(ge=1, le=1000)] = 3
    seeds: Annotated[int, Field(ge=0, le=1000)] = 3
    epochs: Annotated[int, Field(ge=1, le=10_000)] | None = None  # those of the search, if None

    def trained(self, candidate: TrialConfig) -> TrialConfig:
        """Return the configuration that a candidate is trained with."""
        return candidate if self.epochs is None else candidate.model_copy(update={"epochs": self.epochs})


class PriorSection(Section):
    """What the search begins with: the trials of earlier searches, as a guess of the model, and configurations to try.

    `known` are the searches that ship with this package (search/study/known.py): "fashion-mnist" uses them where the
    images are Fashion-MNIST, "always" on all images. Each of `configs` sets some of the searched knobs;
    the search chooses the others.
    """

    known: Literal["never", "fashion-mnist", "always"] = "never"
    studies: Annotated[tuple[str, ...], Field(strict=False)] = ()
    configs: Annotated[tuple[dict[str, bool | int | float | str], ...], Field(strict=False)] = ()

    @property
    def needs_a_model(self) -> bool:
        """Whether the search must begin with earlier ones. With "fashion-mnist" another pruner begins with nothing."""
        return bool(self.studies) or self.known == "always"


class Changes(Section):
    """The base of Student, which leaves out what does not differ when it is written."""

    @model_serializer(mode="wrap")
    def _only_changes(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in write(self).items() if value is not None}

    def applied_to(self, config: TrialConfig) -> TrialConfig:
        """Return the configuration with these knobs in place of its own."""
        return TrialConfig.model_validate(config.model_dump() | self.model_dump())


# Each knob as TrialConfig declares it, or None where the student is like the winner.
_KNOBS: dict[str, Any] = {
    name: (Annotated[knob.annotation, *knob.metadata] | None, None) for name, knob in knob_fields().items()
}
Student: type[Changes] = create_model("Student", __base__=Changes, **_KNOBS)


DEFAULT_POINTS, DEFAULT_LOSS = 5, 0.01


class FinalSection(Section):
    """The winner is retrained on all training images with `seeds` seeds, and with `epochs` epochs if set.

    `translate` replaces the knob in the result alone, so that no trial scores the moved views after each epoch.

    With `distil` as many students learn from the mean of these networks' probabilities, and are the result. They have
    the winner's configuration, or differ from it by the knobs of `student`.

    A search against costs has at most `points` winners spread over them: always the best, and the smallest network that
    is worse by at most `loss`.
    """

    seeds: Annotated[int, Field(ge=1, le=1000)] = 3
    epochs: Annotated[int, Field(ge=1, le=1000)] | None = None
    translate: Literal[0, 1] | None = None
    distil: bool = False
    student: Student | None = None  # type: ignore[valid-type]  # made above
    points: Annotated[int, Field(ge=1, le=20)] | None = None  # DEFAULT_POINTS of a search against costs, if None
    loss: Annotated[float, Field(ge=0, lt=1)] | None = None  # DEFAULT_LOSS, if None

    @model_validator(mode="after")
    def _taught(self) -> Self:
        if self.student is not None and not self.distil:
            raise ValueError("a section with distil = true if it has a student")
        return self

    def trained(self, winner: TrialConfig) -> TrialConfig:
        """Return the configuration of the final trainings; with `distil` that of the teachers, who teach unmoved."""
        changes = {"epochs": self.epochs, "translate": None if self.distil else self.translate}
        return winner.model_copy(update={name: value for name, value in changes.items() if value is not None})

    def deployed(self, winner: TrialConfig) -> TrialConfig:
        """Return the configuration of the result: that of the final trainings, or the student's if there is one."""
        alone = self.model_copy(update={"distil": False})
        trained = alone.trained(winner)
        return trained if self.student is None else self.student.applied_to(trained)
