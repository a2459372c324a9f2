"""The tests that need a GPU pass on this one.

Without a GPU they must be skipped; with a GPU a skipped test is a failure.
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
    """Yield how many passed, failed and were skipped, and the last line of each failure."""
    results = Path(work.folder, "tests.xml")
    files = [str(path.relative_to(ROOT)) for path in marked_files()]
    # With -v the log of a stopped step shows which test hung.
    options = ["-m", "gpu", "-v", "-p", "no:cacheprovider", f"--junitxml={results}"]
    hidden = {} if work.device.startswith("cuda") else {"CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "pytest", *options, *files]
    code = subprocess.run(command, cwd=ROOT, env=os.environ | hidden, check=False).returncode
    assert results.exists(), f"pytest ended with {code} before it wrote its report."
    figures = read_results(results)
    yield figures
    assert code == 0, f"pytest ended with {code}; failed: {', '.join(figures['failures']) or 'none'}."
    if work.device.startswith("cuda"):
        assert figures["passed"] > 0, "No test ran."
        assert figures["skipped"] == 0, f"{figures['skipped']} tests were skipped although there is a GPU."
    else:
        assert figures["skipped"] > 0, "No GPU test was found."


def marked_files() -> list[Path]:
    """Return the test files with GPU tests; collecting the others would take time."""
    return sorted(path for path in (ROOT / "tests").rglob("test_*.py") if MARK in path.read_text(encoding="utf-8"))


def read_results(file: Path) -> dict[str, Any]:
    """Read the counts from pytest's XML."""
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
            message = (fault.text or fault.get("message") or "").strip().splitlines()
            yield f"{case.get('classname')}::{case.get('name')}", message[-1] if message else ""
