"""The texts that a run prints before it starts and after it ends."""

import rich.table
from rich.console import Console

from fmnist.config import TrialConfig
from fmnist.size import DEFAULT_SIZE
from search.job.estimate import Costs
from search.job.minutes import divided, expected_of, in_words
from search.job.plan import Plan
from search.job.prior import uses_known
from search.report.render import Report, headline, print_table, read_report, warnings
from search.samplers.names import UNITS
from search.study.budget import is_searched, spent
from search.study.holder import Holder
from search.study.records import Confirmation, DataRecord, Final
from search.study.spec import StudySpec
from search.study.study import Study
from search.terminal.program import program
from search.terminal.table import Table
from search.terminal.wording import amount, counted, duration, extent, f1, settings

LENGTHS = (2.0, 5.0, 10.0, 30.0, 60.0)  # minutes
# What a network needs that learns well.
TELLING = ("depth", "filters", "batch_norm", "head", "optimizer", "learning_rate", "schedule")
MANY = 3  # of these; a study that leaves out fewer means it
# The largest class over the smallest: it counts so much more in the loss, and alike in macro F1.
UNBALANCED = 3
SYNTHETIC_BANNER = "SYNTHETIC DATA. This shows the job, not the result: no figure below is for Fashion-MNIST."


def print_plan(plan: Plan, console: Console, stored: Study | None = None) -> None:
    """Print the plan and its estimated time; of a `stored` study how far it is, and the result if it is finished."""
    spec, data = plan.spec, plan.data
    facts = {
        "Study": f"{spec.name}: {spec.description.strip() or 'no description'}",
        "Data": f"{data.name}: {data.train:,} training, {data.valid:,} validation images, "
        f"{len(data.class_names)} classes",
        **({"Images": str(spec.data.size)} if spec.data.size != DEFAULT_SIZE else {}),
        **({"Cleaned": cleaned} if (cleaned := _cleaned(data)) else {}),
        **({"Classes": unbalanced} if (unbalanced := _unbalanced(spec, plan.of_each_class)) else {}),
        "Device": str(plan.place),
        "Storage": plan.shown_storage,
        "Search": f"{_budget(spec)}, {_sampling(spec)}, {_pruning(spec)}",
        **({"Against": against} if (against := _against(spec)) else {}),
        **({"Changed": "; ".join(plan.changes)} if plan.changes else {}),
        "Knobs": _searched(spec, plan.changed) or "none, the configuration is fixed",
        **({"Defaults": defaults} if (defaults := _left_out(spec)) else {}),
        **({"Pinned": pinned} if (pinned := _pinned(spec, plan.changed)) else {}),
        **({"Limits": limits} if (limits := _limits(spec)) else {}),
        **({"Prior": prior} if (prior := _prior(spec, plan.data)) else {}),
        "Confirm": _confirming(spec),
        "Final": f"{_final(spec)} on all training images, then the test split, once",
        **({"Tracked": tracked} if (tracked := _tracked(plan)) else {}),
        **(_stored(stored, spec) if stored else {}),
        **({} if stored and stored.read(Final) else _time(plan)),
    }
    table = rich.table.Table.grid(padding=(0, 2))
    for key, value in facts.items():
        table.add_row(key, value)
    if data.is_synthetic:
        console.print(SYNTHETIC_BANNER, style="bold red", highlight=False)
    console.print(table, highlight=False)


def print_outlook(plan: Plan, console: Console) -> None:
    """Print what F1 is to be expected here of how many minutes, if the study has minutes and the images are known."""
    asked = plan.spec.budget.minutes
    if asked is None or not plan.data.is_fashion_mnist or expected_of(plan.spec, plan.costs) is None:
        return
    rows = []
    for minutes in sorted({*LENGTHS, asked}):
        spec = divided(plan.undivided.overridden(minutes=minutes), plan.costs, plan.data, None)
        length = f"{duration(minutes * 60)}{' (asked)' if minutes == asked else ''}"
        rows.append((length, *_division(spec, plan.costs), str(expected_of(spec, plan.costs))))
    caption = (
        "Expected on the test split: a power law of F1 over operations, through finished studies (studies/finals.csv), "
        "at the speed of this machine with the study's typical network; one standard deviation."
    )
    columns = ("whole job", "search", "final", "macro F1")
    print_table(Table("What to expect of how many minutes", columns, rows, caption), console)


def _division(spec: StudySpec, costs: Costs) -> tuple[str, str]:
    cost = costs.estimate(spec)
    searched = duration(cost.search) if spec.trials > 1 else "none"
    return searched, f"{counted(spec.final_epochs, 'epoch')}, {duration(cost.final)}"


def print_end(study: Study, console: Console) -> None:
    """Print the result: its score in a sentence, the winner, the time, the paths of its files and the next steps."""
    report, folder = read_report(study), study.folder
    console.rule(style="dim")
    console.print(headline(report), style="bold", highlight=False)
    for line in warnings(report):
        console.print(line, style="bold red", highlight=False)
    table = rich.table.Table.grid(padding=(0, 2))
    for name, text in (("Winner", _winner(report)), ("Validation", _validation(report)), ("Time", _times(report))):
        if text:
            table.add_row(name, text)
    table.add_row("Report", f"{folder}/report.html, report.md, report.json")
    if (folder / "export").exists():
        table.add_row("Model", f"{folder}/export")
        table.add_row("Next", f"{program()} predict {folder}/export PICTURE...")
        table.add_row("", f"{program()} report {study.name}")
    else:
        holder = study.read(Holder)
        table.add_row("Model", f"on the machine that finished the study{f': {holder.host}' if holder else ''}")
        table.add_row("Next", f"{program()} report {study.name}")
    table.add_row("", f"{program()} dashboard {study.name}")
    console.print(table, highlight=False)


def _cleaned(data: DataRecord) -> str:
    """Return what cleaning found in images that are not clean."""
    found = [one for one in (data.cleaning.caught if data.cleaning else ()) if one.train or one.test]
    rules = "; ".join(f"{one.rule} {one.train + one.test:,} {one.action}" for one in found)
    return f"{rules}. `fmnist-search data` shows them" if rules else ""


def _unbalanced(spec: StudySpec, of_each_class: tuple[int, ...]) -> str:
    """Return what may help a study of unbalanced classes that says nothing of their weights."""
    least, most = min(of_each_class), max(of_each_class)
    if most < UNBALANCED * least or "class_weights" in spec.space.pinned | spec.space.knobs:
        return ""
    return f"{least:,} to {most:,} images each; --set class_weights=0..1 searches weights for them"


def _winner(report: Report) -> str:
    """Return the trial and the knobs that were searched; nothing if none was."""
    chosen = report.chosen
    if chosen is None or not chosen.searched:
        return ""
    return f"trial {chosen.trial}: {settings({knob.name: knob.value for knob in chosen.searched})}"


def _validation(report: Report) -> str:
    """Return the winner's score in the search, and the one on fresh seeds, which was not chosen for being high."""
    for one in report.confirmed:
        if one.trial == report.winner and one.mean is not None:
            spread = "" if one.sd is None else f" ± {f1(one.sd)}"
            fresh = f"{f1(one.mean)}{spread} on {counted(one.seeds, 'fresh seed')}"
            return f"macro F1 {f1(one.search_value)} in the search, {fresh}"
    best = report.best_trial
    return f"macro F1 {f1(best.value)} in the search, not confirmed" if best else ""


def _times(report: Report) -> str:
    timing = report.timing
    stages = {"search": timing.search, "confirm": timing.confirm, "final": timing.final}
    parts = ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in stages.items() if seconds)
    return f"{duration(timing.total)} of trainings: {parts}" if parts else ""


def _time(plan: Plan) -> dict[str, str]:
    """Return what the job is expected to take; with minutes for the whole job, how they are divided."""
    if plan.spec.budget.minutes is not None:
        return {"Minutes": in_words(plan.spec, plan.costs, plan.data)}
    cost = plan.estimate
    unpruned = "" if plan.spec.search.pruner == "none" else " without pruning"
    confirm = f", confirm {cost.confirm}" if plan.spec.confirm.seeds else ""
    stages = f"search {cost.search}{unpruned}{confirm}, final {cost.final}, start, test, report and export {cost.rest}"
    return {"Estimate": f"{cost.total} on this device: {stages}"}


def _stored(study: Study, spec: StudySpec) -> dict[str, str]:
    """Return what the study has already, and what the run goes on with."""
    if study.read(Final) is not None:
        rest = "nothing will be trained, the study is finished: the run only writes its report again"
        return {"Result": headline(read_report(study)), "To do": rest}
    done = spent(study, spec)
    total = "" if spec.search.minutes is not None else f" of {spec.trials:,}"
    count = f"{done:,}{total} trials" if total or done != 1 else counted(done, "trial")
    are = "is" if done == 1 else "are"
    return {"Begun": f"{count} {are} finished; the run goes on with the {_next_stage(study, spec)}"}


def _next_stage(study: Study, spec: StudySpec) -> str:
    if not is_searched(study, spec):
        return "search"
    confirmation = study.read(Confirmation)
    is_confirmed = confirmation is not None and confirmation.winner is not None
    return "final trainings" if is_confirmed or spec.confirm.seeds == 0 else "confirm stage"


def _budget(spec: StudySpec) -> str:
    epochs = counted(spec.epochs, "epoch")
    if spec.search.minutes is None:
        return f"{counted(spec.trials, 'trial')} of {epochs}"
    return f"{duration(spec.search.minutes * 60)} of trials of {epochs}, at most {spec.trials:,}"


def _searched(spec: StudySpec, changed: frozenset[str]) -> str:
    """Return the searched knobs with their ranges; those that the request changed have a mark."""
    searched = spec.space.knobs
    parts = [f"{name}{'*' if name in changed else ''} {extent(knob)}" for name, knob in searched.items()]
    return "; ".join(parts) + (" (* changed for this run)" if changed & searched.keys() else "")


def _left_out(spec: StudySpec) -> str:
    """Return what a file that hardly describes its network leaves at defaults, which no one would choose."""
    names = [name for name in TELLING if name not in spec.knobs] if spec.unlisted == "default" else []
    if len(names) < MANY:
        return ""
    defaults = {name: TrialConfig.model_fields[name].default for name in names}
    return f'{settings(defaults)}: not in the file; base = "auto" at its top begins with a network that works'


def _pinned(spec: StudySpec, changed: frozenset[str]) -> str:
    values = {name: value for name, value in spec.space.pinned.items() if name in changed}
    return f"{settings(values)}, changed for this run" if values else ""


def _prior(spec: StudySpec, data: DataRecord) -> str:
    shipped = ["shipped trainings"] if uses_known(spec, data) else []
    if spec.prior.known != "never" and not shipped:
        is_freezing = spec.search.pruner == "freeze-thaw"
        reason = (
            "these images are not Fashion-MNIST's of 28 x 28 pixels" if is_freezing else "which only freeze-thaw uses"
        )
        shipped = [f"no shipped trainings, {reason}"]
    studies = [f"the trials of {', '.join(spec.prior.studies)}"] if spec.prior.studies else []
    first = f"first {settings(spec.prior.configs[0])}" if spec.prior.configs else ""
    others = f" and {len(spec.prior.configs) - 1} more" if len(spec.prior.configs) > 1 else ""
    return "; ".join(shipped + studies + ([first + others] if first else []))


def _limits(spec: StudySpec) -> str:
    limits = {key: value for key, value in spec.limits.model_dump().items() if value is not None}
    stated = ", ".join(f"{key} {value:,}" for key, value in limits.items())
    return f"{stated}, of the student" if stated and spec.final.student is not None else stated


def _against(spec: StudySpec) -> str:
    floors = [f" from {amount(floor)}" for floor in spec.search.floor] or [""] * len(spec.search.against)
    costs = " and ".join(UNITS[cost] + floor for cost, floor in zip(spec.search.against, floors, strict=True))
    return f"{costs}: the best F1 at every cost, not the best of all" if costs else ""


def _tracked(plan: Plan) -> str:
    return "; ".join(f"in {tracker.title}, {tracker.look}" for tracker in plan.trackers)


def _sampling(spec: StudySpec) -> str:
    if spec.search.sampler != "grid":
        return spec.search.sampler
    points = int(spec.space.points)
    if spec.trials < points:
        return f"{spec.trials:,} of the grid's {points:,} points"
    return f"all {points:,} points of the grid" if points > 1 else "the only point of the grid"


def _pruning(spec: StudySpec) -> str:
    match spec.search.pruner:
        case "none":
            return "nothing pruned"
        case "freeze-thaw":
            return "paused and continued by freeze-thaw"
        case pruner:
            return f"pruned by {pruner}"


def _final(spec: StudySpec) -> str:
    final, epochs = spec.final, counted(spec.final.epochs or spec.epochs, "epoch")
    moved = ", scored with translate," if final.translate else ""
    if not final.distil:
        each = f" for each of at most {counted(spec.points, 'point')} of the front" if spec.search.against else ""
        return f"{counted(final.seeds, 'seed')} of {epochs}{each}{moved}"
    changes = final.student.model_dump() if final.student is not None else {}
    differing = f" with {settings(changes)}" if changes else ""
    students = f"{counted(final.seeds, 'student')}{differing}{moved or ','}"
    return f"{counted(final.seeds, 'teacher')} of {epochs}, then {students}"


def _confirming(spec: StudySpec) -> str:
    top, seeds = min(spec.confirm.top, spec.trials), spec.confirm.seeds
    longer = f", {counted(spec.confirm.epochs, 'epoch')} each" if spec.confirm.epochs else ""
    if seeds == 0:
        return "none, the best trial wins" if not spec.search.against else "none, the best trials are the front"
    each = f" for each of at most {counted(spec.points, 'point')} of the front" if spec.search.against else ""
    return f"the best {counted(top, 'trial')}{each} again on {counted(seeds, 'fresh seed')}{longer}, on validation"
