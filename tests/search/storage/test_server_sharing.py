"""On a database server: openings that several processes record at once, and one token for the folders of several
machines.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from search.storage.opening import open_storage
from search.study.study import create_study
from tests.search.storage.mariadb import mariadb
from tests.search.storage.postgres import connections_closed, postgres
from tests.search.tiny import DATA, DEADLINE, surroundings, tiny_spec

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

CLAIM_AND_OPEN = """\
import sys
from search.study.ownership import claim_folder
from search.study.records import Opening
from search.storage.opening import open_storage
from search.study.study import load_study
study = load_study(open_storage(sys.argv[1], create=False), "tiny")
print("ready", flush=True)
sys.stdin.readline()
claim_folder(study)
for number in range(30):
    study.append(Opening(at="2025-01-01", by=sys.argv[2], trial=number))
"""


@pytest.fixture(params=["postgresql", "mysql"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "mysql":
        with mariadb() as server, connections_closed():
            yield server.new_database()
    else:
        with postgres() as other, connections_closed():
            yield other.url(other.new_database())


def test_all_openings_are_recorded_and_all_folders_have_one_token(url: str, tmp_path: Path) -> None:
    create_study(open_storage(url, create=True), tiny_spec(), DATA)
    running = []
    for machine in "0123":
        (tmp_path / machine).mkdir()
        environment = surroundings(PYTHONPATH=os.pathsep.join(sys.path))
        running.append(
            subprocess.Popen(
                [sys.executable, "-c", CLAIM_AND_OPEN, url, machine],
                cwd=tmp_path / machine,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in running:
        _, errors = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0, errors
    openings = optuna.load_study(study_name="tiny", storage=url).user_attrs["openings"]
    assert sorted((each["by"], each["trial"]) for each in openings) == [
        (machine, number) for machine in "0123" for number in range(30)
    ]
    owners = [json.loads(path.read_text()) for path in tmp_path.glob("*/studies/tiny/study.json")]
    assert len(owners) == 4
    assert len({owner["id"] for owner in owners}) == 1
    assert "***" in owners[0]["storage"]
