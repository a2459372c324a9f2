"""RunRequest: what a run was asked for."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from search.errors import SearchError
from search.job.options import Options
from search.study.bases import changed_knobs, with_configs_inside
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
        return with_configs_inside(spec, changed_knobs(given.knobs, spec.knobs))

    def changed_knobs(self) -> frozenset[str]:
        """Return the knobs that the options change."""
        return changed_knobs(load_spec(self.study).knobs, self.read_spec().knobs)

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
