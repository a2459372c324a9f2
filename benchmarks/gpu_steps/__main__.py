"""Run one step: python -m benchmarks.gpu_steps NAME WORK, with WORK as JSON. Writes each yield at once."""

import json
import sys
from importlib import import_module
from pathlib import Path

from benchmarks.gpu_steps import FIGURES, Work


def main(name: str, work: Work) -> None:
    """Run the step and write its figures to its folder."""
    step = import_module(f"benchmarks.gpu_steps.{name}")
    with Path(work.folder, FIGURES).open("a", encoding="utf-8") as file:
        for figures in step.measure(work):
            file.write(json.dumps(figures) + "\n")
            file.flush()


if __name__ == "__main__":
    main(sys.argv[1], Work(**json.loads(sys.argv[2])))
