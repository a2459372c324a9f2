"""TensorBoard: a run for each training, as an event file in the study's folder."""

import io
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmnist.atomic import write_in_place
from search.errors import SearchError
from search.tracking.facts import TEST, Facts, Result, Training

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

OWNER = "study-id"  # in the folder: event files of a deleted study of the same name are not those of this one
RESULT = "result"  # the run with the score of all final seeds together
EVENTS = "events.out.tfevents"  # begins the name of a file that TensorBoard reads


class EventFiles:
    """The folder that TensorBoard is shown. A training is in it once its event file is."""

    title = "TensorBoard"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def look(self) -> str:
        """The command that shows the folder."""
        return f"tensorboard --logdir {self.folder}"

    def send(self, facts: Facts) -> Iterator[None]:
        """Write the event files that are missing.

        Raises: SearchError if the folder holds those of another study. OSError.
        """
        self._require_own(facts)
        sent = {path.parent.name for path in self.folder.glob(f"*/{EVENTS}.*")}
        for training in facts.unsent(sent):
            self._write(training.name, training.ended, _of_training(training))
            yield
        if facts.result and RESULT not in sent:
            self._write(RESULT, facts.result.ended, _of_result(facts.result))
            yield

    def _require_own(self, facts: Facts) -> None:
        path = self.folder / OWNER
        with suppress(FileNotFoundError):
            if path.read_text(encoding="utf-8") != facts.id:
                raise SearchError(
                    f"{self.folder} holds the event files of another study, which was deleted. Move or delete the "
                    "folder"
                )
            return
        write_in_place(path, facts.id.encode())

    def _write(self, run: str, time: float, summaries: "Iterator[tuple[Summary, int, float]]") -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        content = io.BytesIO()
        writer = RecordWriter(content)
        writer.write(Event(wall_time=time, file_version="brain.Event:2").SerializeToString())
        for summary, step, at in summaries:
            writer.write(Event(wall_time=at, step=step, summary=summary).SerializeToString())
        # Under its name when it is whole: TensorBoard would read, and a kill would leave, a part of it.
        whole = self.folder / run / "unfinished"
        write_in_place(whole, content.getvalue())
        whole.replace(whole.with_name(f"{EVENTS}.{time:.0f}.fmnist-search"))


def _of_training(training: Training) -> "Iterator[tuple[Summary, int, float]]":
    from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS
    from tensorboard.plugins.hparams.metadata import SESSION_END_INFO_TAG, SESSION_START_INFO_TAG
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo

    is_trial = training.stage == "search"
    if is_trial:  # the others would be second rows of the same configurations
        start = SessionStartInfo(start_time_secs=training.began, group_name=training.name)
        for name, value in {**training.knobs, **training.sizes, "state": training.state}.items():
            _set(start.hparams[name], value)
        yield _hparams(SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start)), 0, training.began
    yield _text("training", _about(training)), 0, training.began
    for point in training.points:
        yield _scalar(point.score, point.value), point.step, point.time
    if is_trial:
        status = STATUS_FAILURE if training.state == "failed" else STATUS_SUCCESS
        end = SessionEndInfo(status=status, end_time_secs=training.ended)
        yield _hparams(SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=end)), 0, training.ended


def _of_result(result: Result) -> "Iterator[tuple[Summary, int, float]]":
    yield _text("result", result.headline), 0, result.ended
    yield _scalar(TEST, result.scores[TEST]), int(result.config["epochs"]), result.ended


def _about(training: Training) -> str:
    """Return the state and the configuration in Markdown."""
    reason = f": {training.reason}" if training.reason else ""
    knobs = "".join(f"\n| {name} | {value} |" for name, value in training.config.items())
    return f"{training.state}{reason}\n\n| knob | value |\n|-|-|{knobs}"


def _set(field: Any, value: object) -> None:
    match value:
        case bool():
            field.bool_value = value
        case int() | float():
            field.number_value = value
        case _:
            field.string_value = str(value)


def _scalar(tag: str, value: float) -> "Summary":
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=tag, simple_value=value)])


def _text(tag: str, text: str) -> "Summary":
    from tensorboard.plugins.text.summary_v2 import text_pb

    return text_pb(tag, text)


def _hparams(tag: str, data: Any) -> "Summary":
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.metadata import NULL_TENSOR, create_summary_metadata

    return Summary(value=[Summary.Value(tag=tag, metadata=create_summary_metadata(data), tensor=NULL_TENSOR)])
