"""The tests that need a GPU pass on this one.

They are skipped without a GPU: on the CPU that is what is wanted of them, on CUDA a skipped test is a failed one.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from benchmarks.gpu_steps import ROOT, Work

MARK = "pytest.mark.gpu"


def measure(work: Work) -> Iterator[dict[str, Any]]:
    """How many passed, failed and were skipped, and what those that failed say last."""
    found = Path(work.folder, "tests.xml")
    files = [str(path.relative_to(ROOT)) for path in marked_files()]
    # Named one by one as they begin (-v): the log of a step that was cut off then tells which test hung.
    options = ["-m", "gpu", "-v", "-p", "no:cacheprovider", f"--junitxml={found}"]
    hidden = {} if work.device.startswith("cuda") else {"CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "pytest", *options, *files]
    code = subprocess.run(command, cwd=ROOT, env=os.environ | hidden, check=False).returncode
    assert found.exists(), f"pytest ended with {code} before it wrote its report."
    figures = read_results(found)
    yield figures
    assert code == 0, f"pytest ended with {code}; failed: {', '.join(figures['failures']) or 'none'}."
    if work.device.startswith("cuda"):
        assert figures["passed"] > 0, "No test ran."
        assert figures["skipped"] == 0, f"{figures['skipped']} tests were skipped although there is a GPU."
    else:
        assert figures["skipped"] > 0, "No test of a GPU was found."


def marked_files() -> list[Path]:
    """The test files with tests of a GPU; to collect the others would only take time."""
    return sorted(path for path in (ROOT / "tests").rglob("test_*.py") if MARK in path.read_text(encoding="utf-8"))


def read_results(file: Path) -> dict[str, Any]:
    """The counts in pytest's XML."""
    suites = list(ElementTree.parse(file).getroot().iter("testsuite"))
    counts = {
        key: sum(int(suite.get(key, 0)) for suite in suites) for key in ("tests", "failures", "errors", "skipped")
    }
    failed = counts["failures"] + counts["errors"]
    return {
        "passed": counts["tests"] - failed - counts["skipped"],
        "failed": failed,
        "skipped": counts["skipped"],
        "seconds": sum(float(suite.get("time", 0)) for suite in suites),
        "failures": dict(_failures(suites)),
    }


def _failures(suites: list[ElementTree.Element]) -> Iterator[tuple[str, str]]:
    for case in (case for suite in suites for case in suite.iter("testcase")):
        for fault in (*case.findall("failure"), *case.findall("error")):
            said = (fault.text or fault.get("message") or "").strip().splitlines()
            yield f"{case.get('classname')}::{case.get('name')}", said[-1] if said else ""
