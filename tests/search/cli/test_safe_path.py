"""Files in the folder where a command runs are data to it. None of them is imported, by it or by its workers."""

from pathlib import Path

import pytest

from tests.search.tiny import NAME, RUN, TOML, run_installed

MODULES = ("random", "torch", "queue", "numpy", "signal", "search", "fmnist", "sitecustomize")


@pytest.fixture
def trapped(tmp_path: Path) -> Path:
    """A folder whose every module leaves a trace when it is imported, and then breaks what imports it."""
    for name in MODULES:
        (tmp_path / f"{name}.py").write_text(
            f"open({str(tmp_path / f'{name}.ran')!r}, 'w').close()\nraise RuntimeError('{name} of the folder')\n"
        )
    (tmp_path / "tiny.toml").write_text(TOML)
    return tmp_path


@pytest.mark.process
def test_a_run_imports_nothing_from_the_current_folder(trapped: Path) -> None:
    done = run_installed(trapped, *RUN, "--trials", "1")
    assert (done.returncode, list(trapped.glob("*.ran"))) == (0, []), done.stderr[-2000:]
    assert (trapped / "studies" / NAME / "report.json").exists()


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.usefixtures("ray_alone")
def test_workers_on_ray_import_nothing_from_the_current_folder(trapped: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'fmnist-search[cluster]'")
    done = run_installed(trapped, *RUN[:-2], "--trials", "1", "--executor", "ray", "--max-workers", "1")
    assert (done.returncode, list(trapped.glob("*.ran"))) == (0, []), done.stderr[-2000:]
    assert (trapped / "studies" / NAME / "report.json").exists()
