"""RunRequest: what a run was asked for."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from search.errors import SearchError
from search.job.objective import space_errors
from search.job.options import Options
from search.study.paths import HOME
from search.study.spec import WISHES, StudySpec, load_spec


@dataclass(frozen=True)
class RunRequest:
    """What was asked for, on the command line or by `search.run`, before anything is checked."""

    storage: str
    study: str | None = None
    data: str | None = None
    test: str | None = None
    home: Path = HOME  # the folder of the studies' folders
    options: Options = field(default_factory=Options)
    began: float = field(default_factory=time.monotonic)  # of the run

    def read_spec(self) -> StudySpec:
        """Return the study with the options in place of its own values.

        The configurations that it tries first leave out what the options exclude.

        Raises: FmnistError with all that is wrong.
        """
        given = load_spec(self.study)
        spec = given.overridden(
            **{name: value for name, value in self.options.items() if name in WISHES},
            settings=self.options.get("settings", ()),
            knobs=self.options.get("knobs"),
            skip_unreadable=self.options.get("skip_unreadable", False),
        )
        if spec.budget.minutes is not None:
            self._require_open()
        return _with_configs_inside(spec, _changed(given, spec))

    def changed_knobs(self) -> frozenset[str]:
        """Return the knobs that the options change."""
        return _changed(load_spec(self.study), self.read_spec())

    def _require_open(self) -> None:
        """Require that a run with minutes for the whole job does not ask for what these decide."""
        named = {setting.partition("=")[0].strip() for setting in self.options.get("settings", ())}
        asked = ["the knob epochs"] * ("epochs" in named | set(self.options.get("knobs") or {}))
        asked += ["--search-minutes"] * ("search_minutes" in self.options)
        if asked:
            raise SearchError(
                "The minutes of the whole job decide the epochs and the time of the search: leave out "
                f"{' and '.join(asked)}."
            )


def _changed(given: StudySpec, spec: StudySpec) -> frozenset[str]:
    before, after = given.knobs, spec.knobs
    return frozenset(name for name in after if name not in before or before[name] != after[name])


def _with_configs_inside(spec: StudySpec, changed: frozenset[str]) -> StudySpec:
    """Return the study whose configurations to try first have no value that the changed knobs exclude."""
    space = spec.space
    configs = [
        {
            name: value
            for name, value in config.items()
            if name not in changed or (name in space.knobs and not space_errors({name: value}, space))
        }
        for config in spec.prior.configs
    ]
    return spec.model_copy(update={"prior": spec.prior.model_copy(update={"configs": tuple(filter(None, configs))})})
