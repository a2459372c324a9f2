"""What trains, searches and measures can be imported where the libraries of tables, pictures, pages and clusters are
not there.
"""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[1]
ABSENT = ("pyarrow", "plotly", "ray", "gradio", "optuna_dashboard", "matplotlib", "pandas")
FMNIST = [
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    for path in sorted((ROOT / "fmnist").rglob("*.py"))
]
MODULES = (
    *(name.removesuffix(".__init__") for name in FMNIST),
    *(
        "search.job.plan",
        "search.job.run",
        "search.cli.main",
        "search.cli.run",
        "search.job.search",
        "search.job.final",
        "search.job.confirm",
        "search.report.render",
    ),
    *(
        "search.executors.local",
        "search.samplers.gp",
        "search.samplers.tpe",
        "search.samplers.choose",
        "search.job.objective",
        "search.job.estimate",
    ),
    *("benchmarks.our_loop", "benchmarks.speedrun", "benchmarks.throughput"),
)
PROGRAM = f"""
import sys
from importlib import import_module
from importlib.abc import MetaPathFinder

class NotThere(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, NotThere())
for module in {MODULES!r}:
    import_module(module)
print(*(name for name in {ABSENT!r} if name in sys.modules))
"""


def test_a_search_is_imported_without_libraries_that_only_some_stages_need() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
