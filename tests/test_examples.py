"""What the documentation shows of the Python face runs: the notebook, then each docstring's example, in one folder."""

import doctest
import json
import subprocess
import sys
from pathlib import Path

import pytest

import search

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples" / "tour.ipynb"


def cells() -> list[str]:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def docstring_examples() -> list[str]:
    public = (search, search.run, search.load, search.Study)
    examples = [doctest.DocTestParser().get_examples(each.__doc__ or "") for each in public]
    assert all(examples), "each public name has an example"
    return [example.source for of_one in examples for example in of_one]


@pytest.mark.slow
def test_the_tour_and_the_examples_of_docstrings_run(tmp_path: Path) -> None:
    program = "\n".join([*cells(), *docstring_examples()])
    options = {"capture_output": True, "text": True, "timeout": 600}
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "studies" / "quick-synthetic" / "report.html").exists()


def test_the_tour_was_executed_and_names_no_machine() -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = json.dumps([cell["outputs"] for cell in code])
    assert "Traceback" not in outputs
    assert str(Path.home()) not in outputs
