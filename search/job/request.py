"""RunRequest: what a run was asked for."""

from dataclasses import dataclass, field
from pathlib import Path

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

    def read_spec(self) -> StudySpec:
        """Return the study with the options in place of its own values.

        Raises: FmnistError with all that is wrong.
        """
        return load_spec(self.study).overridden(
            **{name: value for name, value in self.options.items() if name in WISHES},
            settings=self.options.get("settings", ()),
            knobs=self.options.get("knobs"),
            skip_unreadable=self.options.get("skip_unreadable", False),
        )
