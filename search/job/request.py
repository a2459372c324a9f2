"""RunRequest: what a run was asked for."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from search.errors import SearchError
from search.job.options import Options
from search.study.bases import changed_knobs, is_path, with_configs_inside
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

    @property
    def extends(self) -> bool:
        """Whether a stored study is to go on, in another space if the request changes it."""
        return self.options.get("extend", False)

    @property
    def is_file(self) -> bool:
        """Whether the request names a study file."""
        return self.study is not None and is_path(self.study)

    def read_spec(self, base: StudySpec | None = None) -> StudySpec:
        """Return the study, or `base`, with the options in place of its own values.

        The configurations that it tries first leave out what the options exclude.

        Raises: FmnistError with all that is wrong.
        """
        given = base or load_spec(self.study)
        spec = given.overridden(
            **{name: value for name, value in self.options.items() if name in WISHES},
            settings=self.options.get("settings", ()),
            knobs=self.options.get("knobs"),
            skip_unreadable=self.options.get("skip_unreadable", False),
        )
        if spec.budget.minutes is not None:
            self._require_open()
        return with_configs_inside(spec, changed_knobs(given.knobs, spec.knobs))

    def changed_knobs(self, base: StudySpec | None = None) -> frozenset[str]:
        """Return the knobs that the options change in the study, or in `base`."""
        return changed_knobs((base or load_spec(self.study)).knobs, self.read_spec(base).knobs)

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
