"""MLflow: an experiment for each study, in it a run for the study, and nested in that one a run for each training."""

import hashlib
import http.client
import logging
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from search.errors import SearchError
from search.storage.masking import masked
from search.tracking.facts import Facts, Result, State, Training

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

URI = "MLFLOW_TRACKING_URI"  # MLflow's own variable
LOCAL, FILES = "mlflow.db", "mlflow"  # in the study's folder: the default store, and its artifacts
STUDY, TRAINING, SENT = (f"fmnist-search.{name}" for name in ("study", "training", "files"))  # tags of runs
NESTED = "mlflow.parentRunId"  # MLflow's own tag
PARENT = "study"  # instead of a training's name: the run of the study
STATUS: dict[State, str] = {"complete": "FINISHED", "pruned": "KILLED", "refused": "KILLED", "failed": "FAILED"}
ANSWER_SECONDS = 10.0  # that a server may take to say that it is there
MOST = 100  # entities in a request; MLflow takes 100 parameters
PAGE = 1000  # runs in a request


@dataclass
class _Open:
    """A store that has told what it has of the study."""

    client: "MlflowClient"
    experiment: str  # id
    runs: dict[str, "Run"]  # by the name of their training
    was_alone: bool  # no other run has sent anything since
    sent: set[str] = field(init=False)  # names of trainings that are there in full

    def __post_init__(self) -> None:
        self.sent = {name for name, run in self.runs.items() if run.info.status != "RUNNING"} - {PARENT}


class MlflowRuns:
    """A store of MLflow. Its runs have tags with the study and the training, by which they are found again.

    A run is RUNNING until all of it is there. So a training whose sending was broken off is known, and sent again into
    the same run; MLflow keeps one of equal values.
    """

    title = "MLflow"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._named = os.environ.get(URI)
        self._uri = self._named or f"sqlite:///{(folder / LOCAL).resolve()}"
        self._open: _Open | None = None

    @property
    def look(self) -> str:
        """The command that shows the local store, or the address of the named one."""
        return masked(self._named) if self._named else f"mlflow ui --backend-store-uri sqlite:///{self._folder / LOCAL}"

    def send(self, facts: Facts) -> Iterator[None]:
        """Send the runs that are missing.

        Raises: SearchError if the server does not answer. Errors of MLflow.
        """
        # What is there is asked again after an error, which may have hidden that a request took effect.
        store, self._open = self._open, None
        if store is None or (facts.is_alone and not store.was_alone):
            store = self._opened(facts)
        for training in facts.unsent(store.sent):
            self._send(store, facts, training)
            store.sent.add(training.name)
            yield
        if facts.result:
            yield from self._send_result(store, facts.result)
        self._open = store

    def _opened(self, facts: Facts) -> _Open:
        _require_answer(self._uri)
        # Of what this command does, nobody is told but the server that was named.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        for chatty in ("alembic", "mlflow.store.db.utils"):  # they tell how each table is made
            logging.getLogger(chatty).setLevel(logging.WARNING)
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=self._uri)
        experiment = self._experiment(client, facts)
        query = partial(client.search_runs, [experiment], f"tags.`{STUDY}` = '{facts.id}'", max_results=PAGE)
        page = query()
        runs = list(page)
        while page.token:
            page = query(page_token=page.token)
            runs += page
        store = _Open(client, experiment, {run.data.tags[TRAINING]: run for run in runs}, facts.is_alone)
        if facts.is_alone:
            self._nest(store, facts)
        return store

    def _nest(self, store: _Open, facts: Facts) -> None:
        """Make the run of the study, and nest in it what was sent without it.

        Runs that share a study would make one each: so there is none before the one that ends it is alone.
        """
        client = store.client
        if PARENT not in store.runs:
            tags = {STUDY: facts.id, TRAINING: PARENT}
            began = None if facts.began is None else _milliseconds(facts.began)
            store.runs[PARENT] = client.create_run(store.experiment, began, tags, facts.study)
        parent = store.runs[PARENT].info.run_id
        for name, run in store.runs.items():
            if name != PARENT and run.data.tags.get(NESTED) != parent:  # not even in one that was deleted
                client.set_tag(run.info.run_id, NESTED, parent)

    def _experiment(self, client: "MlflowClient", facts: Facts) -> str:
        """Return the id of the experiment that was made for the study, though it was renamed, or that has its name."""
        from mlflow.exceptions import MlflowException

        if made := client.search_experiments(filter_string=f"tags.`{STUDY}` = '{facts.id}'"):
            return str(made[0].experiment_id)
        if named := client.get_experiment_by_name(facts.study):
            return str(named.experiment_id)
        files = None if self._named else (self._folder / FILES).resolve().as_uri()
        try:
            return str(client.create_experiment(facts.study, artifact_location=files, tags={STUDY: facts.id}))
        except MlflowException:
            if (named := client.get_experiment_by_name(facts.study)) is None:  # nor has another run just made it
                raise
            return str(named.experiment_id)

    def _send(self, store: _Open, facts: Facts, training: Training) -> None:
        client = store.client
        tags = {
            STUDY: facts.id,
            TRAINING: training.name,
            **({NESTED: store.runs[PARENT].info.run_id} if PARENT in store.runs else {}),
            "stage": training.stage,
            "state": training.state,
            **({"reason": training.reason} if training.reason else {}),
        }
        began, ended = _milliseconds(training.began), _milliseconds(training.ended)
        run = store.runs.get(training.name) or client.create_run(store.experiment, began, tags, training.name)
        run_id = run.info.run_id
        points = [(point.score, point.value, point.time, point.step) for point in training.points]
        last = max((point.step for point in training.points), default=0)
        points += [(name, float(size), training.began, last) for name, size in training.sizes.items()]
        _log(client, run_id, points, dict(training.config) | {"seed": training.seed})
        client.set_terminated(run_id, STATUS[training.state], ended)

    def _send_result(self, store: _Open, result: Result) -> Iterator[None]:
        client, run = store.client, store.runs[PARENT]
        run_id, digest = run.info.run_id, _digest(result.files)
        if run.info.status != "RUNNING" and run.data.tags.get(SENT) == digest:
            return
        points = [(name, score, result.ended, 0) for name, score in result.scores.items()]
        _log(client, run_id, points, {**result.settings, **result.config})
        for name, path in result.files.items():
            if path.is_dir():
                client.log_artifacts(run_id, str(path), name)
            else:
                client.log_artifact(run_id, str(path))
            yield
        client.set_tag(run_id, "winner", "" if result.winner is None else f"trial {result.winner}")
        client.set_tag(run_id, "mlflow.note.content", result.headline)
        client.set_tag(run_id, SENT, digest)
        client.set_terminated(run_id, "FINISHED", _milliseconds(result.ended))
        store.runs[PARENT] = client.get_run(run_id)
        yield


def _log(
    client: "MlflowClient", run_id: str, points: list[tuple[str, float, float, int]], params: Mapping[str, Any]
) -> None:
    from mlflow.entities import Metric, Param

    stated = [Param(name, str(value)) for name, value in params.items() if value is not None]
    metrics = [Metric(name, value, _milliseconds(time), step) for name, value, time, step in points]
    for start in range(0, max(len(stated), len(metrics)), MOST):
        part = slice(start, start + MOST)
        client.log_batch(run_id, metrics=metrics[part], params=stated[part])


def _milliseconds(time: float) -> int:
    return round(time * 1000)


def _digest(files: Mapping[str, Path]) -> str:
    """Return a digest of the names and contents of the files."""
    digest = hashlib.blake2b(digest_size=16)
    for name, path in files.items():
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                digest.update(f"{name}/{file.name}\0{file.stat().st_size}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def _require_answer(uri: str) -> None:
    """Require that a server answers: MLflow itself asks one that is down for minutes.

    Raises: SearchError with the cause.
    """
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https"):
        return
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}/health"
    try:
        urllib.request.urlopen(address, timeout=ANSWER_SECONDS).close()
    except urllib.error.HTTPError:
        return  # it answers, if only that it wants a password
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if not isinstance(reason, ssl.SSLError):  # MLflow has settings of its own for certificates
            raise SearchError(f"{masked(uri)} does not answer: {getattr(reason, 'strerror', None) or reason}") from None
