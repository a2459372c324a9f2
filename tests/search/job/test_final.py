"""The end of a study: what is trained, what is kept of it, and that every figure of the result is that of the kept
models.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

from fmnist.checkpoint import load_checkpoint, save_checkpoint
from fmnist.config import TrialConfig
from fmnist.curve import CurvePoint
from fmnist.data.images import Images
from fmnist.data.sources import Source, fingerprint
from fmnist.errors import FmnistError
from fmnist.metrics import bootstrap_interval
from fmnist.network import build, describe
from fmnist.predict import predict
from fmnist.snapshot import Snapshot, save_snapshot
from search.errors import SearchError
from search.executors import EpochEnd, Event, Failed, Finished, Task
from search.job.final import DivergedWinnerError, evaluate, final_folder, has_models, is_test_of, make_final
from search.job.interrupt import Interrupt, InterruptedRunError
from search.job.progress.base import Progress
from search.job.progress.tally import EndState
from search.study.paths import HOME, snapshot_path
from search.study.predictions import predictions_path, read_predictions
from search.study.records import Candidate, DataRecord, Final, FinalTrainings, Opening, Timing
from search.study.spec import StudySpec
from search.study.study import Study
from tests.fmnist.data.prepared import prepared
from tests.search.tiny import CPU, Inline, InterruptAfter, stage, tiny_spec

NAMES = ("Bag", "Coat", "Dress", "Shirt")
CONFIG = TrialConfig(depth=1, filters=4, epochs=3)
WINNER = Candidate(trial=6, config=CONFIG, search_value=0.8)
SECONDS = 4.5  # of the training with seed 2000; each of the next takes one more


class Saves(Inline):
    """An executor whose trainings end at once: a network with the weights that its seed draws. `also` happens before
    one ends.
    """

    def __init__(
        self, also: Callable[[Task], None] = lambda _: None, *, diverging: Collection[int] = (), places: int = 1
    ) -> None:
        super().__init__(places)
        self.also, self.diverging = also, diverging

    def _train(self, task: Task) -> Iterator[Event]:
        if task.seed in self.diverging:
            yield Failed(task.key, "diverged", "diverged: loss nan", SECONDS)
            return
        yield EpochEnd(task.key, CurvePoint(task.config.epochs, 0.5, None, None, None, 1.0), 1.0)
        assert task.checkpoint
        save(task.checkpoint, task.seed, task.config)
        self.also(task)
        yield Finished(task.key, SECONDS + task.seed - 2000)


class Pauses(Saves):
    """Two workers whose trainings go on where they paused."""

    def __init__(self) -> None:
        super().__init__(places=2)
        self.epochs: dict[str, list[int]] = {}

    def _train(self, task: Task) -> Iterator[Event]:
        done = self.epochs.setdefault(task.key, [])
        for number in range(len(done) + 1, task.config.epochs + 1):
            done.append(number)
            yield EpochEnd(task.key, CurvePoint(number, 0.5, None, None, None, 1.0), 1.0)
            if task.key in self._pausing:
                yield Finished(task.key, SECONDS)
                return
        assert task.checkpoint
        save(task.checkpoint, task.seed, task.config)
        yield Finished(task.key, SECONDS)


class Heard(Progress):
    """Remembers the stages and the messages."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int, int]] = []
        self.messages: list[str] = []

    def begin(self, stage: Any, *, total: int, done: int, **_: Any) -> None:
        self.stages.append((stage, total, done))

    def message(self, text: str, *, is_alarm: bool = False) -> None:  # noqa: ARG002
        self.messages.append(text)


def save(folder: Path, seed: int, config: TrialConfig = CONFIG, names: tuple[str, ...] = NAMES) -> None:
    torch.manual_seed(seed)
    save_checkpoint(folder, build(config, len(names)), config, names, origin={})


def images(*counts: int, seed: int) -> Images:
    labels = np.repeat(np.arange(len(NAMES)), counts)
    return Images(np.random.default_rng(seed).integers(0, 256, (len(labels), 28, 28)).astype(np.uint8), labels, NAMES)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """Twelve test images, of some classes more than of others; what is written goes to a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return prepared(tmp_path / "data", images(2, 2, 2, 2, seed=0), images(5, 4, 2, 1, seed=1))


def final_spec(*, seeds: int = 3, epochs: int | None = None, seed: int = 0) -> StudySpec:
    spec = tiny_spec()
    return spec.model_copy(
        update={"seed": seed, "final": spec.final.model_copy(update={"seeds": seeds, "epochs": epochs})}
    )


def in_memory() -> Study:
    return Study(optuna.create_study(study_name="tiny", direction="maximize"))


def finalized(
    study: Study,
    source: Source,
    spec: StudySpec | None = None,
    executor: Inline | None = None,
    progress: Progress | None = None,
) -> Final:
    return make_final(
        stage(study, spec or final_spec(), executor or Saves(), progress or Progress(), Interrupt()), WINNER, source
    )


def interrupted(study: Study, source: Source, *, trainings: int) -> None:
    interrupt = Interrupt()
    with pytest.raises(InterruptedRunError):
        make_final(stage(study, final_spec(), Saves(), InterruptAfter(interrupt, trainings), interrupt), WINNER, source)


def openings(study: Study) -> list[tuple[str, int | None]]:
    return [
        (opening.by, opening.trial)
        for opening in map(Opening.model_validate, study.optuna.user_attrs.get("openings", []))
    ]


def kept_seconds(study: Study) -> dict[int, float]:
    return {run.seed: run.seconds for run in (study.read(FinalTrainings) or FinalTrainings()).runs}


def test_the_final_section_replaces_epochs_and_translate_alone(source: Source) -> None:
    spec = final_spec(seeds=1)
    section = spec.final.model_copy(update={"epochs": 4, "translate": 1})
    final = finalized(in_memory(), source, spec.model_copy(update={"final": section}))
    assert final.config == CONFIG.model_copy(update={"epochs": 4, "translate": 1})
    assert final.flops == 3 * describe(CONFIG, 4).flops
    assert section.deployed(CONFIG) == final.config


def test_of_three_seeds_on_two_workers_one_pauses_in_its_middle_and_goes_on_last(source: Source) -> None:
    study, executor, spec = in_memory(), Pauses(), final_spec(seeds=3)
    longer = spec.model_copy(update={"final": spec.final.model_copy(update={"epochs": 4})})
    paused: list[tuple[str, str]] = []

    class Shown(Progress):
        def ended(self, label: str, state: EndState, *_: Any) -> None:
            paused.append((label, state))

    make_final(stage(study, longer, executor, Shown()), WINNER, source, CPU)
    assert [task.seed for task in executor.trained] == [2001, 2000, 2002, 2001]
    assert set(map(tuple, executor.epochs.values())) == {(1, 2, 3, 4)}
    assert paused[0] == ("seed 2001", "paused")
    assert sorted(paused[1:]) == [(f"seed {seed}", "complete") for seed in (2000, 2001, 2002)]
    final = study.read(Final)
    assert final is not None
    assert [run.seed for run in final.runs] == [2000, 2001, 2002]
    assert [run.threads for run in final.runs] == [None, None, None]


@pytest.mark.parametrize(("paused_after", "order"), [(1, [2001, 2000, 2002, 2001]), (2, [2000, 2002, 2001])])
def test_a_seed_that_paused_in_an_earlier_run_goes_on_last(
    paused_after: int, order: list[int], source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study, executor, spec = in_memory(), Pauses(), final_spec(seeds=3)
    longer = spec.model_copy(update={"final": spec.final.model_copy(update={"epochs": 4})})
    save_snapshot(snapshot_path(HOME / "tiny", "seed 2001"), Snapshot(paused_after, {}), {})
    executor.epochs["seed 2001"] = list(range(1, paused_after + 1))
    make_final(stage(study, longer, executor, Heard()), WINNER, source, CPU)
    assert [task.seed for task in executor.trained] == order


@pytest.mark.parametrize(("epochs", "trained"), [(None, 3), (7, 7)])
def test_the_winner_is_trained_on_all_images_with_seeds_and_epochs_of_the_study(
    epochs: int | None, trained: int, source: Source
) -> None:
    study, executor, heard = in_memory(), Saves(), Heard()
    final = finalized(study, source, final_spec(seeds=2, epochs=epochs, seed=5), executor, heard)
    config = CONFIG.model_copy(update={"epochs": trained})
    assert executor.trained == [
        Task(
            f"seed {seed}",
            config,
            seed,
            "full",
            final_folder(study, seed),
            snapshot_path(HOME / "tiny", f"seed {seed}"),
        )
        for seed in (2005, 2006)
    ]
    assert final.config == config
    assert final_folder(study, 2005) == Path("studies/tiny/final/seed-2005")
    assert heard.stages == [("final", 2, 0)]
    assert heard.messages == ["Opening the test split, once."]
    timing = study.read(Timing)
    assert timing is not None
    assert timing.final > 0


def test_every_figure_is_that_of_the_kept_models(source: Source) -> None:
    study = in_memory()
    final = finalized(study, source)
    test = source.test()
    checkpoints = [load_checkpoint(final_folder(study, seed)) for seed in (2000, 2001, 2002)]
    probabilities = np.stack([predict(checkpoint, test.pixels, CPU) for checkpoint in checkpoints])
    predicted = probabilities.argmax(axis=2)
    f1s = [f1_score(test.labels, row, labels=range(4), average="macro", zero_division=0) for row in predicted]
    assert len(set(f1s)) > 1
    assert [run.macro_f1 for run in final.runs] == pytest.approx(f1s)
    assert [run.accuracy for run in final.runs] == pytest.approx(
        [accuracy_score(test.labels, row) for row in predicted]
    )
    assert [(run.seed, run.seconds, run.folder, run.checkpoint) for run in final.runs] == [
        (2000 + i, SECONDS + i, f"final/seed-{2000 + i}", checkpoints[i].seal) for i in range(3)
    ]
    together = probabilities.mean(axis=0, dtype=np.float64).argmax(axis=1)
    interval = bootstrap_interval(test.labels, together[None], 4, resamples=2000, level=0.95)
    assert final.ensemble is not None
    assert (final.ensemble.members, final.ensemble.low, final.ensemble.high) == (3, *interval)
    f1 = f1_score(test.labels, together, labels=range(4), average="macro", zero_division=0)
    assert (final.ensemble.macro_f1, final.ensemble.accuracy) == pytest.approx(
        (f1, accuracy_score(test.labels, together))
    )
    assert final.mean == pytest.approx(fmean(f1s))
    assert final.sd == pytest.approx(stdev(f1s))
    assert (final.low, final.high) == bootstrap_interval(test.labels, predicted, 4, resamples=2000, level=0.95)
    assert (final.level, final.resamples, final.test_images) == (0.95, 2000, 12)
    assert (final.trial, final.config, final.exported_seed) == (6, CONFIG, 2000)
    assert np.array(final.confusion).tolist() == confusion_matrix(test.labels, predicted[0], labels=range(4)).tolist()
    network = describe(CONFIG, 4)
    assert (final.parameters, final.flops) == (network.parameters, network.flops)
    by_class = np.mean(
        [precision_recall_fscore_support(test.labels, row, labels=range(4), zero_division=0)[:3] for row in predicted],
        axis=0,
    )
    assert np.array([(each.precision, each.recall, each.f1) for each in final.classes]) == pytest.approx(by_class.T)
    assert [(each.name, each.images) for each in final.classes] == list(zip(NAMES, (5, 4, 2, 1), strict=True))
    assert final.predictions == hashlib.blake2b(predictions_path(HOME / "tiny").read_bytes()).hexdigest()
    answers = read_predictions(HOME / "tiny", final)
    assert answers is not None
    np.testing.assert_array_equal(answers.probabilities, probabilities)
    np.testing.assert_array_equal(answers.labels, test.labels)
    assert study.read(Final) == final


def test_a_single_seed_has_no_spread(source: Source) -> None:
    final = finalized(in_memory(), source, final_spec(seeds=1))
    assert (final.sd, len(final.runs), final.mean) == (None, 1, final.runs[0].macro_f1)
    assert final.ensemble is None
    two = finalized(Study(optuna.create_study(study_name="two")), source, final_spec(seeds=2))
    assert two.sd == pytest.approx(stdev(run.macro_f1 for run in two.runs))


def test_the_test_split_is_opened_once_and_what_is_done_is_not_done_again(source: Source) -> None:
    study, again = in_memory(), Saves()
    assert not has_models(study)
    final = finalized(study, source)
    assert openings(study) == [("final", 6)]
    assert has_models(study)
    assert finalized(study, source, executor=again) == final
    assert (again.trained, len(openings(study))) == ([], 1)
    final_folder(study, 2000).rename("elsewhere")
    assert not has_models(study)
    final_folder(study, 2001).rename(final_folder(study, 2000))
    assert not has_models(study), "of a study on a server, another machine has trained this one"


def test_an_opening_is_recorded_before_the_images_are_read(source: Source, tmp_path: Path) -> None:
    study = in_memory()
    whole = (tmp_path / "data" / "test-pixels.npy").read_bytes()
    (tmp_path / "data" / "test-pixels.npy").write_bytes(b"damaged")
    with pytest.raises(FmnistError, match=r"test-pixels\.npy must be complete and readable"):
        finalized(study, source)
    assert openings(study) == [("final", 6)]
    assert "final" not in study.optuna.user_attrs
    assert not predictions_path(HOME / "tiny").exists()
    (tmp_path / "data" / "test-pixels.npy").write_bytes(whole)
    again, heard = Saves(), Heard()
    assert finalized(study, source, executor=again, progress=heard).test_images == 12
    assert (again.trained, heard.stages) == ([], [])
    assert openings(study) == [("final", 6)] * 2


def test_a_device_that_cannot_predict_is_known_before_the_test_split_is_opened(source: Source) -> None:
    study = in_memory()
    with pytest.raises(NotImplementedError, match="meta"):
        make_final(
            stage(study, final_spec(seeds=1), Saves(), Progress(), Interrupt()), WINNER, source, torch.device("meta")
        )
    assert openings(study) == []


def test_without_room_for_the_predictions_the_test_split_stays_closed(source: Source) -> None:
    study = in_memory()
    study.write(record_of(source, test=len(source.test())))
    (study.folder / "final" / "room").mkdir(parents=True)  # where nothing can be written then
    with pytest.raises(SearchError, match=r"cannot be written: .* No opening of the test split is recorded"):
        finalized(study, source)
    assert openings(study) == []
    (study.folder / "final" / "room").rmdir()
    finalized(study, source)
    assert len(openings(study)) == 1
    assert not (study.folder / "final" / "room").exists()


def test_a_gpu_without_memory_for_scoring_is_one_error_and_no_opening(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore of it.")

    study, executor = in_memory(), Saves()
    finalized(study, source, executor=executor)
    monkeypatch.setattr("search.job.final.predict", refuse)
    with pytest.raises(
        SearchError, match=r"than is free on cuda: CUDA out of memory\. Tried to allocate 2\.00 GiB\. Free memory"
    ):
        evaluate(load_checkpoint(final_folder(study, 2000)), source, [study], torch.device("cuda"))
    assert openings(study) == [("final", 6)]


@pytest.mark.parametrize(("places", "begun"), [(1, [2000, 2001]), (3, [2000, 2001, 2002])])
def test_where_one_training_diverges_the_others_are_not_begun_or_not_kept(
    places: int, begun: list[int], source: Source
) -> None:
    study, executor = in_memory(), Saves(diverging={2001, 2002}, places=places)
    with pytest.raises(DivergedWinnerError, match=r"^diverged: loss nan, in the final training with seed 2001$"):
        finalized(study, source, executor=executor)
    assert [task.seed for task in executor.trained] == begun
    assert not executor.running()
    assert openings(study) == []
    assert kept_seconds(study) == ({2000: SECONDS} if places == 1 else {})


def test_after_an_interruption_only_what_is_missing_is_trained(source: Source) -> None:
    study, rest, heard = in_memory(), Saves(), Heard()
    interrupted(study, source, trainings=2)
    assert kept_seconds(study) == {2000: SECONDS}
    assert openings(study) == []
    final = finalized(study, source, executor=rest, progress=heard)
    assert [task.seed for task in rest.trained] == [2001, 2002]
    assert heard.stages == [("final", 3, 1)]
    assert [run.seconds for run in final.runs] == [SECONDS, SECONDS + 1, SECONDS + 2]


def test_a_model_that_another_wrote_over_is_trained_again(source: Source) -> None:
    study, rest = in_memory(), Saves()
    interrupted(study, source, trainings=2)
    save(final_folder(study, 2000), seed=99)  # of the same configuration
    finalized(study, source, executor=rest)
    assert [task.seed for task in rest.trained] == [2000, 2001, 2002]


def test_a_model_that_is_gone_is_trained_again(source: Source) -> None:
    study, rest = in_memory(), Saves()
    interrupted(study, source, trainings=2)
    final_folder(study, 2000).rename("elsewhere")
    finalized(study, source, executor=rest)
    assert [task.seed for task in rest.trained] == [2000, 2001, 2002]


def test_a_model_that_is_changed_while_the_others_are_trained_is_not_scored(source: Source) -> None:
    study = in_memory()

    def changes_the_first(task: Task) -> None:
        if task.seed == 2002:
            save(final_folder(study, 2000), seed=99)

    with pytest.raises(
        SearchError, match=r"final/seed-2000 must hold the model that the study has trained; it was changed"
    ):
        finalized(study, source, executor=Saves(changes_the_first))
    assert openings(study) == []


def test_a_training_that_an_older_version_kept_without_a_seal_is_believed(source: Source) -> None:
    study, rest = in_memory(), Saves()
    interrupted(study, source, trainings=2)
    runs = [
        run.model_copy(update={"checkpoint": None}) for run in (study.read(FinalTrainings) or FinalTrainings()).runs
    ]
    study.write(FinalTrainings(runs=tuple(runs)))
    final = finalized(study, source, executor=rest)
    assert [task.seed for task in rest.trained] == [2001, 2002]
    assert [run.checkpoint is None for run in final.runs] == [True, False, False]


def record_of(source: Source, **changes: Any) -> DataRecord:
    given: dict[str, Any] = {"fingerprint": fingerprint(source.train()), "test_fingerprint": fingerprint(source.test())}
    return DataRecord.model_validate(
        {"name": "drawn", "train": 6, "valid": 2, "class_names": NAMES, **given, **changes}
    )


def test_a_study_knows_its_test_images(source: Source) -> None:
    def is_test(**changes: Any) -> bool:
        study = in_memory()
        study.write(record_of(source, **changes))
        return is_test_of(study, source)

    assert not is_test_of(in_memory(), source)
    assert is_test()
    assert is_test(fingerprint="other")
    assert not is_test(test_fingerprint="other")
    assert is_test(test_fingerprint=None)  # version 0.1 kept that of train only
    assert not is_test(test_fingerprint=None, fingerprint="other")


def test_an_evaluation_scores_the_model_and_is_recorded_where_these_are_the_test_images(source: Source) -> None:
    save(Path("model"), seed=4)
    model, test = load_checkpoint(Path("model")), source.test()
    own, other = in_memory(), in_memory()
    own.write(record_of(source))
    other.write(record_of(source, test_fingerprint="other"))
    scores, interval = evaluate(model, source, [own, other], CPU)
    predicted = predict(model, test.pixels, CPU).argmax(axis=1)
    assert scores.macro_f1 == pytest.approx(
        f1_score(test.labels, predicted, labels=range(4), average="macro", zero_division=0)
    )
    assert scores.confusion.tolist() == confusion_matrix(test.labels, predicted, labels=range(4)).tolist()
    assert interval == bootstrap_interval(test.labels, predicted[None], 4, resamples=2000, level=0.95)
    assert (openings(own), openings(other)) == ([("evaluate", None)], [])
    assert evaluate(model, source, None, CPU)[1] == interval


def test_a_model_of_other_classes_opens_nothing(source: Source) -> None:
    save(Path("model"), seed=4, names=("Bag", "Coat", "Dress", "Boot"))
    study = in_memory()
    study.write(record_of(source, test=len(source.test())))
    with pytest.raises(SearchError, match=r"the model's classes .*'Boot'.*, got .*'Shirt'"):
        evaluate(load_checkpoint(Path("model")), source, [study], CPU)
    assert openings(study) == []
