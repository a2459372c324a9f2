"""The house plan, checked on the source: who may know whom, who may write, and how long things may be."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {
    path.relative_to(ROOT).as_posix(): path
    for room in ("fmnist", "search", "benchmarks")
    for path in (ROOT / room).rglob("*.py")
}
MODULES = {name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): name for name in SOURCES}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in SOURCES.items()}

# Module of fmnist -> what else of fmnist it may import; `data` is all of fmnist.data.
FMNIST = {
    "": set(),
    "adam": set(),
    "errors": set(),
    "suggestions": set(),
    "knobs": set(),
    "size": set(),
    "curve": set(),
    "atomic": set(),
    "augment": {"config"},
    "muon": {"adam"},
    "optimizer": {"adam", "config", "muon"},
    "batches": {"augment", "config", "data", "scoring", "targets"},
    "graphs": set(),
    "cuda": set(),
    "schedule": {"config"},
    "scoring": {"augment", "data", "metrics", "network"},
    "snapshot": {"atomic", "errors"},
    "metrics": set(),
    "device": {"cuda", "errors", "memory"},
    "precision": {"cuda", "device"},
    "refusals": {"suggestions"},
    "files": {"errors"},
    "config": {"knobs", "errors", "refusals", "size"},
    "data": {"data", "atomic", "errors", "suggestions", "memory", "size"},
    "machine": set(),
    "memory": {"errors"},
    "grey": set(),
    "network": {"network", "config", "data", "grey"},
    "targets": {"augment", "config", "data", "network", "errors"},
    "train": {
        "batches",
        "config",
        "cuda",
        "data",
        "network",
        "precision",
        "graphs",
        "optimizer",
        "schedule",
        "scoring",
        "snapshot",
        "targets",
        "errors",
    },
    "checkpoint": {"atomic", "config", "data", "network", "errors", "files", "refusals"},
    "predict": {"checkpoint", "cuda", "data", "network", "scoring", "size", "timing"},
    "temperature": {"errors", "network"},
    "timing": set(),
    "neighbours": {"data"},
    "onnx_file": {"data", "files", "refusals", "errors", "size"},
    "classifier": {"onnx_file", "checkpoint", "device", "predict", "data", "errors", "size"},
}
LAYER = re.compile(r"^\| (\d+) \| `(\w+)` \|", re.MULTILINE)
# Room of search/ -> its layer, 1 the highest, as the table for people has it.
LAYERS = {room: int(layer) for layer, room in LAYER.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))}
WRITERS = {
    "search/job/loop.py",
    "search/job/freezing.py",
    "search/job/choosing.py",
    "search/job/prior.py",
    "search/job/enqueue.py",
    "search/job/extend.py",
    "search/job/delete.py",
    "search/job/rename.py",
    "search/job/search.py",
    "search/study/ownership.py",
    "search/study/study.py",
    "search/job/objective.py",
    "search/study/limits.py",
    "search/storage/optuna_private.py",
    "search/storage/own_trials.py",
    "search/storage/trial_record.py",
    "search/storage/patient.py",
    "search/storage/sharing.py",
    "search/dashboard/annotate.py",
    "search/dashboard/artifacts.py",
}
WRITES = {
    "ask",
    "tell",
    "report",
    "enqueue_trial",
    "add_trial",
    "add_trials",
    "optimize",
    "set_user_attr",
    "set_system_attr",
}
WRITES |= {
    "set_constraint",
    "set_trial_user_attr",
    "set_trial_system_attr",
    "set_trial_state_values",
    "set_trial_param",
    "set_study_user_attr",
    "set_study_system_attr",
    "delete_study",
    "rename_study",
    "change_trials",
}
OPTUNA_PRIVATE = "search/storage/optuna_private.py"
SUBCLASSES = {"search/storage/own_trials.py", "search/storage/patient.py"}  # of Optuna's storage: its own attributes
PRIVATE = {
    "_storage",
    "_trial_id",
    "_study_id",
    "_pop_waiting_trial_id",
    "_thread_local",
    "_system_attrs",
}
REPORTING = ("search.report", "search.dashboard", "search.terminal")
PICKLES = ("pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "torch.load")
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 300, 50


def imports(tree: ast.AST) -> set[str]:
    """Every name a file imports, anywhere in it, the imported members with their module: {"a", "a.b"} for `from a
    import b`.
    """
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


def is_of(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def imported_of(tree: ast.AST, *packages: str) -> set[str]:
    return {name for name in imports(tree) if any(is_of(name, package) for package in packages)}


def fmnist_parts(tree: ast.AST) -> set[str]:
    """The modules of fmnist that a file imports, by the names that FMNIST has for them."""
    return {part for name in imported_of(tree, "fmnist") if (part := name.partition(".")[2].partition(".")[0])}


def reachable(modules: set[str]) -> set[str]:
    """What these modules of the project import, directly or through the project's other modules.

    Of the packages that a module lies in, what they import when they are imported: their functions are not called for
    it.
    """
    found: set[str] = set()
    waiting = set(modules)
    while waiting:
        module = waiting.pop()
        found.add(module)
        if module in MODULES:
            waiting |= (imports(TREES[MODULES[module]]) | _imported_by_packages_of(module)) - found
    return found


def _imported_by_packages_of(module: str) -> set[str]:
    parts = module.split(".")
    packages = [".".join(parts[:n]) for n in range(1, len(parts))]
    at_once = [
        ast.Module([node for node in TREES[MODULES[name]].body if isinstance(node, ast.Import | ast.ImportFrom)], [])
        for name in packages
    ]
    return {name for tree in at_once for name in imports(tree)}


def writes(tree: ast.AST) -> list[str]:
    """Calls that write to a study or a trial, but for those on a study in memory that the same function made."""
    allowed = {
        call
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for call in _on_scratch_studies(function)
    }
    return [f"line {call.lineno}: .{name}()" for call, name in _writing_calls(tree) if call not in allowed]


def _writing_calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(ast.Attribute(_, name)) if name in WRITES or name.startswith(
                ("set_trial_", "create_new_trial")
            ):
                yield node, name


def _on_scratch_studies(function: ast.FunctionDef) -> Iterator[ast.Call]:
    scratch = set()
    for node in ast.walk(function):
        match node:
            case ast.Assign([ast.Name(name)], ast.Call(ast.Attribute(attr="create_study"), [], options)):
                if not {"storage", None} & {option.arg for option in options}:
                    scratch.add(name)
    for call, _ in _writing_calls(function):
        if (
            isinstance(call.func, ast.Attribute)
            and isinstance(call.func.value, ast.Name)
            and call.func.value.id in scratch
        ):
            yield call


def names(tree: ast.AST) -> set[str]:
    """Every name and attribute used or imported in a file."""
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return used | attributes | {name.rpartition(".")[2] for name in imports(tree)}


def opens_test_images(tree: ast.AST) -> bool:
    """Whether it calls `<source>.test()`, which gives the test images with their labels."""
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "test"
        for node in ast.walk(tree)
    )


def unpickles(tree: ast.AST) -> list[str]:
    """Imports and calls that make objects of bytes, which may be any code; what `torch.export.load` reads is a kind of
    pickle as well.
    """
    found = sorted(imported_of(tree, *PICKLES))
    for node in ast.walk(tree):
        match node:
            case ast.Call(ast.Attribute(ast.Name("torch"), "load")) | ast.Call(
                ast.Attribute(ast.Attribute(attr="export"), "load")
            ):
                found.append(ast.unparse(node.func))
            case ast.keyword("allow_pickle", value) if ast.unparse(value) != "False":
                found.append("allow_pickle")
            case ast.Call(ast.Attribute(ast.Name("np" | "numpy"), "load")) if "allow_pickle" not in {
                one.arg for one in node.keywords
            }:
                found.append("numpy.load")
    return found


def long_functions(tree: ast.AST) -> list[str]:
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [f.name for f in functions if (f.end_lineno or f.lineno) - f.lineno + 1 > MOST_LINES_OF_A_FUNCTION]


def modules_of(name: str) -> dict[str, ast.Module]:
    return {path: tree for path, tree in TREES.items() if path.startswith(f"{name}/")}


def loaded_by(modules: tuple[str, ...], watched: tuple[str, ...]) -> list[str]:
    """Which of `watched` a new interpreter has loaded once it has imported `modules`."""
    program = f"import sys, {', '.join(modules)}; print(*(name for name in {watched!r} if name in sys.modules))"
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()


@pytest.mark.parametrize("path", modules_of("fmnist"))
def test_fmnist_knows_nothing_of_the_search_and_the_command_line(path: str) -> None:
    assert not imported_of(TREES[path], "optuna", "typer", "rich", "search", "benchmarks")
    assert not [name for name in imports(TREES[path]) if name.startswith(".")], (
        "imports are absolute, so that this test sees them"
    )


@pytest.mark.parametrize("path", modules_of("fmnist"))
def test_inside_fmnist_arrows_point_one_way(path: str) -> None:
    module = path.removeprefix("fmnist/").removesuffix(".py").partition("/")[0].replace("__init__", "")
    assert module in FMNIST, f"{path} is new: say in FMNIST what it may know"
    assert fmnist_parts(TREES[path]) <= FMNIST[module]


def wrong_arrows(tree: ast.AST, room: str) -> set[str]:
    """The rooms of search/ that a file of `room` imports and that are not below it."""
    known = {name.split(".")[1] for name in imported_of(tree, "search") if "." in name} - {room}
    return {other for other in known if LAYERS.get(other, 0) <= LAYERS[room]}


@pytest.mark.parametrize("path", sorted(modules_of("search").keys() - {"search/__init__.py", "search/__main__.py"}))
def test_inside_search_arrows_point_down(path: str) -> None:
    room = path.split("/")[1].removesuffix(".py")
    assert room in LAYERS, f"{path} is in a new room: give it a layer in CONTRIBUTING.md"
    assert wrong_arrows(TREES[path], room) == set()


def test_the_rule_inside_search_sees_an_arrow_that_points_up() -> None:
    assert LAYERS.keys() == {
        path.name.removesuffix(".py") for path in (ROOT / "search").iterdir() if not path.name.startswith("_")
    }
    assert wrong_arrows(
        ast.parse("from search.job.plan import Plan\nfrom search.errors import SearchError"), "study"
    ) == {"job"}
    assert wrong_arrows(ast.parse("import search.export.export"), "dashboard") == {"export"}
    assert wrong_arrows(ast.parse("from search import cli"), "report") == {"cli"}


@pytest.mark.parametrize("path", modules_of("search"))
def test_nothing_knows_the_command_line(path: str) -> None:
    if not path.startswith("search/cli/"):
        assert not imported_of(TREES[path], "typer", "benchmarks")
    assert not [name for name in imports(TREES[path]) if name.startswith(".")]


@pytest.mark.parametrize("path", sorted(modules_of("search").keys() - WRITERS))
def test_only_the_coordinators_modules_write_trials(path: str) -> None:
    assert writes(TREES[path]) == []


@pytest.mark.parametrize("path", sorted(modules_of("search").keys() - {OPTUNA_PRIVATE}))
def test_one_module_uses_what_optuna_keeps_private(path: str) -> None:
    tree = TREES[path]
    assert not [name for name in imports(tree) if name.startswith("optuna.") and "._" in name]
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not used & (PRIVATE if path in SUBCLASSES else PRIVATE | {"_backend"})


@pytest.mark.parametrize("path", modules_of("search"))
def test_only_the_final_stage_opens_the_test_split(path: str) -> None:
    assert ("test_split" in names(TREES[path])) == (path == "search/job/final.py")
    assert not opens_test_images(TREES[path])


@pytest.mark.parametrize("path", sorted(modules_of("fmnist").keys() - {"fmnist/data/splits.py"}))
def test_in_fmnist_only_the_splits_load_the_test_images(path: str) -> None:
    if path != "fmnist/data/sources.py":  # which is where they are loaded
        assert not opens_test_images(TREES[path])
    assert "test_split" not in names(TREES[path])


def test_workers_cannot_reach_the_database() -> None:
    executors = {module for module in MODULES if is_of(module, "search.executors")}
    found = reachable(executors)
    assert "fmnist.train.fit" in found, "the search through the imports sees what a worker does"
    assert not [
        name
        for name in found
        if any(is_of(name, other) for other in ("optuna", "sqlalchemy", "search.study", "search.job"))
    ]


@pytest.mark.process
def test_reports_are_written_without_torch() -> None:
    reporting = tuple(module for module in sorted(MODULES) if any(is_of(module, room) for room in REPORTING))
    assert loaded_by(reporting, ("optuna", "torch", "torchvision")) == ["optuna"]


@pytest.mark.process
def test_the_command_line_starts_without_its_heavy_libraries() -> None:
    assert loaded_by(
        ("search.cli.main",), ("typer", "optuna", "torch", "torchvision", "sklearn", "sqlalchemy", "matplotlib")
    ) == ["typer"]


@pytest.mark.parametrize("path", [path for path in SOURCES if not path.startswith("benchmarks/")])
def test_nothing_is_unpickled(path: str) -> None:
    # An export is compared with PyTorch by reading the file that the same process has just written, where nobody else
    # writes.
    assert unpickles(TREES[path]) == (["torch.export.load"] if path == "search/export/export.py" else [])


@pytest.mark.parametrize("path", SOURCES)
def test_files_and_functions_are_short(path: str) -> None:
    lines = SOURCES[path].read_text(encoding="utf-8").count("\n")
    assert lines <= MOST_LINES
    assert long_functions(TREES[path]) == []


@pytest.mark.parametrize(
    "source",
    [
        "import optuna",
        "import optuna.trial as t",
        "from optuna import Trial",
        "def f():\n    from optuna.trial import Trial",
    ],
)
def test_the_rule_on_imports_sees_all_ways_to_import(source: str) -> None:
    assert imported_of(ast.parse(source), "optuna")
    assert not imported_of(ast.parse(source.replace("optuna", "optuna_dashboard")), "optuna")


def test_the_rule_inside_fmnist_sees_a_wrong_arrow() -> None:
    wrong = ast.parse("from fmnist.knobs import Range\nfrom fmnist import network\nimport fmnist.data.sources")
    assert fmnist_parts(wrong) - FMNIST["config"] == {"network", "data"}


@pytest.mark.parametrize(
    "source",
    [
        "study.tell(trial, 0.5)",
        "active.trial.report(0.5, step=1)",
        "self.study._storage.set_trial_state_values(1, state)",
        "def f(study):\n    study.ask()",
        "def f():\n    study = optuna.create_study(storage=url)\n    study.ask()",
        "def f():\n    study = optuna.create_study(**options)\n    study.ask()",
        "def f(study):\n    mine = optuna.create_study()\n    study.ask()",
        "def f():\n    mine = optuna.create_study()\ndef g(mine):\n    mine.ask()",
    ],
)
def test_the_rule_on_writing_sees_a_second_writer(source: str) -> None:
    assert len(writes(ast.parse(source))) == 1


def test_the_rule_on_writing_lets_a_study_in_memory_be() -> None:
    assert (
        writes(
            ast.parse("def f():\n    mine = optuna.create_study(sampler=s)\n    return [mine.ask() for _ in range(3)]")
        )
        == []
    )
    assert writes(ast.parse("from search.report.render import report\nreport(study.trials)")) == []


@pytest.mark.parametrize(
    "source", ["from fmnist.data.splits import test_split as t", "splits.test_split(s)", "f(test_split)"]
)
def test_the_rule_on_the_test_split_sees_it_used(source: str) -> None:
    assert "test_split" in names(ast.parse(source))
    assert opens_test_images(ast.parse("images = plan.source.test()"))


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "from torch import load",
        "torch.load(path, weights_only=True)",
        "torch.export.load(path)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "read_array(file, allow_pickle=flag)",
    ],
)
def test_the_rule_on_pickles_sees_one(source: str) -> None:
    assert len(unpickles(ast.parse(source))) >= 1
    assert unpickles(ast.parse("np.load(path, allow_pickle=False); json.load(file); load_file(path)")) == []


def test_the_rule_on_length_sees_a_long_function() -> None:
    body = "    x = 1\n" * (MOST_LINES_OF_A_FUNCTION - 1)
    assert long_functions(ast.parse(f"def fits():\n{body}")) == []
    assert long_functions(ast.parse(f"class A:\n  async def f():\n{body}    x = 2")) == ["f"]
