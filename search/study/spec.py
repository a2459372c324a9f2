"""StudySpec: a study as its TOML describes it, with all its errors reported at once."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import tomli_w
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from pydantic import BaseModel, Field, ValidationError, ValidationInfo, field_validator

from fmnist.config import TrialConfig, knob_fields
from fmnist.data.cleaning import CleaningRules
from fmnist.errors import FmnistError
from fmnist.refusals import NONE, listed, refusals
from search.errors import SearchError
from search.samplers.choose import make_pruner, make_sampler
from search.samplers.proposals import ProposalSampler
from search.study.bases import changed_knobs, merged, read_with_bases, with_configs_inside
from search.study.sections import (
    DEFAULT_POINTS,
    BudgetSection,
    ConfirmSection,
    DataSection,
    FinalSection,
    LimitsSection,
    PriorSection,
    SearchSection,
    Section,
)
from search.study.settings import as_list, read_setting
from search.study.space import SEARCH, Space, read_space

DEFAULT_STUDY = "auto"
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
NAME_IN_WORDS = "1 to 100 of the characters A-Z, a-z, 0-9, '.', '_' and '-', the first of them a letter or a digit"
AT_THE_TOP = "at the top, before the first section"


# Option of a run that overrides a value of the study -> path of the value in the study.
WISHES = {
    **{name: name for name in ("name", "seed")},
    **{name: f"search.{name}" for name in SearchSection.model_fields if name != "minutes"},
    "search_minutes": "search.minutes",
    "minutes": "budget.minutes",
    "target": "budget.target",
    **{name: f"limits.{name}" for name in LimitsSection.model_fields},
    "prior": "prior.studies",
    "known": "prior.known",
}


class StudySpec(Section):
    """The specification of a study. Budgets are totals over all its runs."""

    name: Annotated[str, Field(pattern=NAME, description=NAME_IN_WORDS)]
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    budget: BudgetSection = BudgetSection()
    search: SearchSection
    data: DataSection = DataSection()
    unlisted: Literal["default", "search"] = "default"  # for knobs that [knobs] does not list
    knobs: dict[str, Any] = Field(default_factory=dict)
    limits: LimitsSection = LimitsSection()
    cleaning: CleaningRules = CleaningRules()
    prior: PriorSection = PriorSection()
    confirm: ConfirmSection = ConfirmSection()
    final: FinalSection = FinalSection()

    @field_validator("prior")
    @classmethod
    def _modelled(cls, received: PriorSection, info: ValidationInfo) -> PriorSection:
        search = info.data.get("search")
        if received.needs_a_model and isinstance(search, SearchSection) and search.pruner != "freeze-thaw":
            raise ValueError(
                'a section with neither studies nor known = "always" unless the pruner is "freeze-thaw": no other '
                "search has a model"
            )
        return received

    @field_validator("cleaning")
    @classmethod
    def _distinct(cls, received: CleaningRules) -> CleaningRules:
        if len(set(received.classes)) < len(received.classes):
            raise ValueError("a section whose list of classes names each class only once")
        return received

    @field_validator("search")
    @classmethod
    def _with_one_result(cls, received: SearchSection, info: ValidationInfo) -> SearchSection:
        budget = info.data.get("budget")
        if received.against and isinstance(budget, BudgetSection) and budget.target is not None:
            raise ValueError("a section without against if [budget] has a target, which is that of a single result")
        return received

    @field_validator("final")
    @classmethod
    def _of_a_front(cls, received: FinalSection, info: ValidationInfo) -> FinalSection:
        search = info.data.get("search")
        is_front = isinstance(search, SearchSection) and bool(search.against)
        if not is_front and (received.points is not None or received.loss is not None):
            raise ValueError("a section with neither points nor loss unless the search is against a cost")
        if is_front and received.distil:
            raise ValueError("a section with distil = false if the search is against a cost: it has several winners")
        return received

    @field_validator("final")
    @classmethod
    def _taught_at_full_size(cls, received: FinalSection, info: ValidationInfo) -> FinalSection:
        # A teacher's batch norm has the statistics of images at full size; at 14 pixels it is right about one in four.
        unlisted = SEARCH if info.data.get("unlisted") == SEARCH else 0.0
        entry = info.data.get("knobs", {}).get("small_epochs", unlisted)
        of_student = received.student and received.student.model_dump().get("small_epochs")
        if received.distil and (entry if of_student is None else of_student) != 0:
            raise ValueError(
                "a section with small_epochs = 0 under its student: teachers know images at full size only"
            )
        return received

    @property
    def space(self) -> Space:
        """The search space."""
        space = read_space(self.knobs, search_unlisted=self.unlisted == "search", context=self.name)
        return space.of_images(self.data.model_dump(exclude_defaults=True))

    @property
    def epochs(self) -> int:
        """The epochs of a trial that is not pruned."""
        return int(self.knobs.get("epochs", TrialConfig.model_fields["epochs"].default))

    @property
    def final_epochs(self) -> int:
        """The epochs of a final training."""
        return self.final.epochs or self.epochs

    @property
    def points(self) -> int:
        """The most configurations that are results: one, or the points of a front."""
        if not self.search.against:
            return 1
        return min(self.trials, DEFAULT_POINTS if self.final.points is None else self.final.points)

    @property
    def trials(self) -> int:
        """The total number of trials: a grid ends when every point has been tried."""
        return int(min(self.search.trials, self.space.points)) if self.search.sampler == "grid" else self.search.trials

    def make_sampler(self, *, seed: int) -> BaseSampler:
        """Return the study's sampler, seeded with `seed`; the order of a grid follows from the study's seed."""
        section = self.search
        if section.pruner == "freeze-thaw":
            return ProposalSampler(self.space.distributions(), seed=seed)
        return make_sampler(section.sampler, trials=section.trials, seed=seed, grid=self.space.grid, order=self.seed)

    def make_pruner(self) -> BasePruner:
        """Return the study's pruner."""
        return make_pruner(self.search.pruner, epochs=self.epochs)

    def overridden(
        self,
        *,
        settings: Iterable[str] = (),
        knobs: Mapping[str, Any] | None = None,
        skip_unreadable: bool = False,
        **wishes: Any,
    ) -> Self:
        """Return the study with values overridden by a run.

        Args:
            settings: Knobs as knob=value, in the forms of search/study/settings.py.
            knobs: Knobs with their entries.
            skip_unreadable: Skip pictures that cannot be opened.
            wishes: Any of WISHES. None leaves the study's value.

        Raises: SearchError with all errors.
        """
        values, errors = self.model_dump(), []
        for name, wish in wishes.items():
            section, _, key = WISHES[name].rpartition(".")
            if wish is not None:
                given = as_list(wish) if name in ("prior", "against", "floor") else wish
                if name == "against" and tuple(given) != self.search.against and wishes.get("floor") is None:
                    values["search"]["floor"] = ()  # of other costs
                (values[section] if section else values)[key] = given
        values["cleaning"] |= {"unreadable": "skip"} if skip_unreadable else {}
        values["knobs"] |= knobs or {}
        for setting in settings:
            try:
                knob, entry = read_setting(setting, values["knobs"])
                values["knobs"][knob] = entry
            except FmnistError as error:
                errors.append(str(error))
        flags = {path: f"--{name.replace('_', '-')}" for name, path in WISHES.items()} | {"prior.studies": "--from"}
        return self._validated(values, "command line", errors, flags)

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, context: str) -> Self:
        """Return the study that `values` describe.

        Raises: SearchError with a line for each error: `context`, the key, the rule and the value received.
        """
        errors = []
        entries = values.get("knobs", {})
        if isinstance(entries, Mapping):
            misplaced = entries.keys() & (StudySpec.model_fields.keys() - TrialConfig.model_fields.keys())
            errors += [
                f"{context}, [knobs]: unknown knob {key!r}. It belongs {AT_THE_TOP}." for key in sorted(misplaced)
            ]
            entries = {key: entry for key, entry in entries.items() if key not in misplaced}
            try:
                read_space(entries, search_unlisted=False, context=f"{context}, [knobs]")
            except FmnistError as error:
                errors += str(error).splitlines()
        return cls._validated(values, context, errors)

    @classmethod
    def _validated(
        cls, values: Mapping[str, Any], context: str, errors: list[str], display_names: Mapping[str, str] = NONE
    ) -> Self:
        try:
            spec = cls.model_validate(dict(values))
        except ValidationError as error:
            errors += [
                f"{context}: {line}"
                for line in refusals(error, cls, display_names=display_names, correct_places=_correct_places())
            ]
        if errors:
            raise SearchError(listed(errors))
        return spec

    def to_toml(self, *, is_short: bool = False) -> str:
        """Return the study as TOML that `load_spec` can read; if `is_short`, only what differs from the defaults."""
        values = self.model_dump(exclude_none=True, exclude_defaults=is_short)
        if is_short:
            is_needed = self.unlisted == SEARCH  # there a default must be named
            fields = TrialConfig.model_fields
            values["knobs"] = {
                name: entry for name, entry in self.knobs.items() if is_needed or entry != fields[name].default
            }
        return tomli_w.dumps(values)


def load_spec(study: str | None) -> StudySpec:
    """Return the shipped study of that name, the study in the TOML file at that path, or by default DEFAULT_STUDY.

    A file with a base takes from it what it does not say. Of the configurations that the base tries first, what the
    file's own knobs exclude is left out.

    Raises: FmnistError if there is no such study, or with all errors in its file.
    """
    (file, values), *others = read_with_bases(study or DEFAULT_STUDY)
    spec = StudySpec.parse({"name": Path(file).stem} | values, context=file)
    for name, own in others:
        before, values = spec, merged(values, {"name": Path(name).stem, "description": f"based on {spec.name}"} | own)
        file = name
        spec = StudySpec.parse(values, context=file)
        if "configs" not in own.get("prior", {}):
            spec = with_configs_inside(spec, changed_knobs(before.knobs, spec.knobs))
    return spec


def pinned_spec(name: str, config: TrialConfig, spec: StudySpec, description: str) -> StudySpec:
    """Return a study without a search that trains `config`, with the seed and final stage of `spec`."""
    return StudySpec(
        name=name,
        description=description,
        seed=spec.seed,
        search=SearchSection(trials=1, sampler="random", pruner="none"),
        data=spec.data,
        knobs=config.model_dump(include=set(knob_fields())),
        cleaning=spec.cleaning,
        confirm=ConfirmSection(top=1, seeds=0),
        final=spec.final.model_copy(update={"points": None, "loss": None}),
    )


def _correct_places() -> dict[str, str]:
    """Return key -> the place where it belongs, to correct misplaced keys."""
    places = {name: [AT_THE_TOP] for name in StudySpec.model_fields}
    for section, model in SECTIONS.items():
        for name in model.model_fields:
            places.setdefault(name, []).append(f"under [{section}]")
    for name in knob_fields():
        places[name] = ["under [knobs]", *places.get(name, ())]
    return {name: " or ".join(sections) for name, sections in places.items()}


SECTIONS: dict[str, type[BaseModel]] = {
    "budget": BudgetSection,
    "search": SearchSection,
    "data": DataSection,
    "limits": LimitsSection,
    "prior": PriorSection,
    "cleaning": CleaningRules,
    "confirm": ConfirmSection,
    "final": FinalSection,
}
