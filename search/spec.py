"""StudySpec: a study as its TOML states it, every error in it reported at once."""

import tomllib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fmnist.config import TrialConfig
from fmnist.data.cleaning import CleaningRules
from fmnist.errors import FmnistError
from fmnist.suggestions import did_you_mean
from search.errors import SearchError
from search.space import Space, read_space

DEFAULT_STUDY = "quick"
Sampler = Literal["tpe", "gp", "cmaes", "random", "grid", "nsga2"]
Pruner = Literal["hyperband", "halving", "median", "patient", "wilcoxon", "none"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class SearchSection(_Section):
    """How long, and how, to look for configurations."""

    trials: Annotated[int, Field(ge=1)]
    minutes: Annotated[float, Field(gt=0)] | None = None
    sampler: Sampler = "tpe"
    pruner: Pruner = "hyperband"


class LimitsSection(_Section):
    """What a network may cost at most; trials over a limit are pruned before they train, and the sampler learns to avoid them."""

    max_params: Annotated[int, Field(ge=1)] | None = None
    max_size: Annotated[int, Field(ge=1)] | None = None  # bytes of the weights in float32
    max_latency_ms: Annotated[float, Field(gt=0)] | None = None  # of one image, on the device and threads of a worker


class ConfirmSection(_Section):
    """The `top` trials are trained again on `seeds` fresh seeds; the best mean wins. With 0 seeds the best trial wins."""

    top: Annotated[int, Field(ge=1)] = 3
    seeds: Annotated[int, Field(ge=0)] = 2


class FinalSection(_Section):
    """The winner is retrained on all training images with `seeds` seeds, for `epochs` epochs if it is to differ from the search."""

    seeds: Annotated[int, Field(ge=1)] = 3
    epochs: Annotated[int, Field(ge=1)] | None = None


class StudySpec(_Section):
    """All that a study states. Budgets are totals of the study, over all its runs."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    search: SearchSection
    unlisted: Literal["default", "search"] = "default"  # what becomes of knobs that [knobs] does not list
    knobs: dict[str, Any] = {}
    limits: LimitsSection = LimitsSection()
    cleaning: CleaningRules = CleaningRules()
    confirm: ConfirmSection = ConfirmSection()
    final: FinalSection = FinalSection()

    @property
    def space(self) -> Space:
        """What is pinned and what is searched."""
        return read_space(self.knobs, search_unlisted=self.unlisted == "search", where=self.name)

    @property
    def epochs(self) -> int:
        """Epochs of a trial that nothing prunes."""
        return int(self.knobs.get("epochs", TrialConfig.model_fields["epochs"].default))

    def overridden(
        self,
        *,
        name: str | None = None,
        trials: int | None = None,
        minutes: float | None = None,
        seed: int | None = None,
        limits: Mapping[str, float | None] | None = None,
        settings: Iterable[str] = (),
        skip_unreadable: bool = False,
    ) -> Self:
        """The study with the command line's wishes in place of its own; `settings` are knob=value.

        Raises: SearchError with all that is wrong.
        """
        values = self.model_dump()
        wishes = {"trials": trials, "minutes": minutes}
        values["search"] |= {key: wish for key, wish in wishes.items() if wish is not None}
        values |= {key: wish for key, wish in {"name": name, "seed": seed}.items() if wish is not None}
        values["limits"] |= {key: wish for key, wish in (limits or {}).items() if wish is not None}
        values["knobs"] |= dict(_read_setting(setting) for setting in settings)
        values["cleaning"] |= {"unreadable": "skip"} if skip_unreadable else {}
        return self.parse(values, where="command line")

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, where: str) -> Self:
        """The study that `values` describe.

        Raises: SearchError naming, for all errors at once, `where`, the key, the rule and the value received.
        """
        errors = []
        entries = values.get("knobs", {})
        if isinstance(entries, Mapping):
            try:
                read_space(entries, search_unlisted=False, where=where)
            except FmnistError as error:
                errors.append(str(error))
        try:
            spec = cls.model_validate(dict(values))
        except ValidationError as error:
            errors += [f"{where}: {line}" for line in _readable(error)]
        if errors:
            raise SearchError("\n".join(errors))
        return spec

    def to_toml(self) -> str:
        """The study as a TOML that `load_spec` reads back."""
        return tomli_w.dumps(self.model_dump(exclude_none=True))


def load_spec(study: str | None) -> StudySpec:
    """The study of that name among those that ship, or in the TOML file at that path; without a name, the default one.

    Raises: SearchError where there is no such study, or with all that is wrong in its file.
    """
    wanted = study or DEFAULT_STUDY
    is_path = wanted.endswith(".toml") or "/" in wanted or "\\" in wanted
    text = _read_file(Path(wanted)) if is_path else _read_shipped(wanted)
    where = Path(wanted).name if is_path else f"{wanted}.toml"
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # tomllib lets those of too long a number and too deep a list through
        raise SearchError(f"{where}: not valid TOML: {error}.") from None
    return StudySpec.parse({"name": Path(where).stem} | values, where=where)


def shipped_studies() -> list[str]:
    """Names of the studies that come with the package."""
    return sorted(entry.name.removesuffix(".toml") for entry in files("studies").iterdir() if entry.name.endswith(".toml"))


def pinned_spec(name: str, config: TrialConfig, spec: StudySpec) -> StudySpec:
    """A study without a search that trains exactly `config`, with the seeds and final stage of `spec`."""
    return StudySpec(
        name=name,
        description=f"The winner of the study {spec.name}.",
        seed=spec.seed,
        search=SearchSection(trials=1, sampler="random", pruner="none"),
        knobs=config.model_dump(),
        cleaning=spec.cleaning,
        confirm=ConfirmSection(top=1, seeds=0),
        final=spec.final,
    )


def _read_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SearchError(f"The study file {str(path)!r} cannot be read: {error}.") from None


def _read_shipped(name: str) -> str:
    if name not in shipped_studies():
        hint = did_you_mean(name, shipped_studies())
        raise SearchError(f"No study named {name!r} ships with fmnist-search. {hint} For a file of your own give its path.")
    return (files("studies") / f"{name}.toml").read_text(encoding="utf-8")


def _read_setting(setting: str) -> tuple[str, Any]:
    name, equals, text = setting.partition("=")
    if not equals or not name.strip() or not text.strip():
        raise SearchError(f"--set takes knob=value, got {setting!r}. For example: --set dropout=0.2")
    try:
        return name.strip(), tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return name.strip(), text.strip()  # a bare word, such as head=max


def _readable(error: ValidationError) -> list[str]:
    lines = []
    for part in error.errors():
        key = ".".join(str(step) for step in part["loc"])
        if part["type"] == "extra_forbidden":
            section = _section(part["loc"])
            lines.append(f"unknown key {key!r}. {did_you_mean(str(part['loc'][-1]), section.model_fields)}")
        elif part["type"] == "missing":
            lines.append(f"{key} is missing.")
        else:
            lines.append(f"{key}: {part['msg'].lower()}, got {part['input']!r}.")
    return lines


def _section(location: tuple[int | str, ...]) -> type[BaseModel]:
    sections: dict[int | str, type[BaseModel]] = {
        "search": SearchSection,
        "limits": LimitsSection,
        "cleaning": CleaningRules,
        "confirm": ConfirmSection,
        "final": FinalSection,
    }
    return sections.get(location[0], StudySpec) if len(location) > 1 else StudySpec
