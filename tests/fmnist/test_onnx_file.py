"""A .onnx file of a stranger: what it breaks is said in one message, and what it says is not believed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from fmnist.classifier import load_classifier
from fmnist.data.preparation import CENTRED
from fmnist.errors import FmnistError
from fmnist.onnx_file import LARGEST, load_onnx

NAMES = ("shirt", "shoe")
Change = Callable[[onnx.ModelProto], object]


def tiny(weights: float = 0.01) -> onnx.ModelProto:
    """Brightness decides between two classes: softmax of the sum of the pixels, times a weight a class."""
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["floats"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
    ]
    values = np.stack([np.zeros(784), np.full(784, weights)], axis=1).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 28, 28])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 2])],
        [onnx.numpy_helper.from_array(values, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    tell(model, labels=json.dumps(NAMES))
    return model


def tell(model: onnx.ModelProto, **told: str) -> None:
    facts = {one.key: one.value for one in model.metadata_props} | told
    helper.set_model_props(model, {key: value for key, value in facts.items() if value != "absent"})


def written(path: Path, *changes: Change) -> Path:
    model = tiny()
    for change in changes:
        change(model)
    path.write_bytes(model.SerializeToString())
    return path


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    model = load_onnx(written(tmp_path / "m.onnx"))
    assert (model.class_names, model.data, model.preparation.form) == (NAMES, None, CENTRED)
    pixels = np.zeros((3, 28, 28), np.uint8)
    pixels[1] = 1
    found = model.probabilities(pixels)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[[0, 2]], 0.5)
    assert found[1, 1] == pytest.approx(1 / (1 + np.exp(-7.84)), abs=1e-6)
    assert model.probabilities(np.zeros((1001, 28, 28), np.uint8)).shape == (1001, 2)  # more than a batch


def outside(tensor: TensorProto, path: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=path)


def deep_outside(model: onnx.ModelProto) -> None:
    """In an attribute of a node in a branch of an If, which onnx.load itself would resolve too."""
    tensor = onnx.numpy_helper.from_array(np.zeros(2, np.float32), "leak")
    outside(tensor, "/etc/passwd")
    branch = helper.make_graph([helper.make_node("Constant", [], ["out"], value=tensor)], "branch", [], [])
    model.graph.node.append(helper.make_node("If", ["c"], ["d"], then_branch=branch, else_branch=branch))


def shaped(place: str, dtype: int, *shape: Any) -> Change:
    def change(model: onnx.ModelProto) -> None:
        values = getattr(model.graph, place)
        values[0].CopyFrom(helper.make_tensor_value_info(values[0].name, dtype, list(shape)))

    return change


def second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Reboot"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: outside(m.graph.initializer[0], "/etc/passwd"), "points at other files, which are not read"),
        (lambda m: outside(m.graph.initializer[0], "weights.bin"), "points at other files, which are not read"),
        (deep_outside, "points at other files, which are not read"),
        (lambda m: tell(m, labels="absent"), "under 'labels'; it has none"),
        (lambda m: tell(m, labels="{"), "metadata 'labels' must be a JSON list of 2 to 100 names"),
        (lambda m: tell(m, labels="[" * 10_000), "metadata 'labels' must be a JSON list"),
        (lambda m: tell(m, labels='["one"]'), "metadata 'labels' must be a JSON list"),
        (lambda m: tell(m, labels='["a", "a"]'), "metadata 'labels' must be a JSON list"),
        (lambda m: tell(m, labels='["a", "b\\u001b[2J"]'), "metadata 'labels' must be a JSON list"),
        (lambda m: tell(m, labels='["a", 3]'), "metadata 'labels' must be a JSON list"),
        (lambda m: tell(m, labels=json.dumps(["x" * 101, "y"])), "metadata 'labels' must be a JSON list"),
        (lambda m: tell(m, labels=json.dumps([str(i) for i in range(101)])), "metadata 'labels' must be a JSON list"),
        (lambda m: tell(m, labels='["a", "b", "c"]'), r"must give one output of float [N, 3], got"),
        (lambda m: tell(m, pictures="turned\x1b[2J"), "metadata 'pictures' must say how its pictures were prepared"),
        (
            shaped("input", TensorProto.FLOAT, "N", 28, 28),
            'must read one input of uint8 [N, 28, 28], got "tensor(float)',
        ),
        (shaped("input", TensorProto.UINT8, "N", 784), "must read one input of uint8 [N, 28, 28], got"),
        (shaped("input", TensorProto.UINT8, 1, 28, 28), "must read one input of uint8 [N, 28, 28], got"),
        (second_input, "must read one input of uint8 [N, 28, 28], got"),
        (unknown_operator, "must be a model that ONNX Runtime can load"),
    ],
)
def test_a_file_that_breaks_a_rule_is_one_clean_message(change: Change, says: str, tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", change)
    with pytest.raises(FmnistError) as refused:
        load_onnx(path)
    assert str(refused.value).startswith(f"{path}")
    assert says in str(refused.value)
    assert str(refused.value).isprintable()


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    for content in (b"", b"no protobuf", b"\x80\x04\x95", b"\xff" * 1000):
        (tmp_path / "m.onnx").write_bytes(content)
        with pytest.raises(FmnistError, match=r"m\.onnx"):
            load_onnx(tmp_path / "m.onnx")
    with pytest.raises(FmnistError, match="must be readable: No such file"):
        load_onnx(tmp_path / "absent.onnx")
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(FmnistError, match="must be a file, got a pipe"):
        load_onnx(tmp_path / "pipe.onnx")
    with (tmp_path / "vast.onnx").open("wb") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(FmnistError, match="must be at most 268,435,456 bytes"):
        load_onnx(tmp_path / "vast.onnx")


def test_what_is_no_probability_is_refused(tmp_path: Path) -> None:
    def no_softmax(model: onnx.ModelProto) -> None:
        del model.graph.node[3]
        model.graph.node[2].output[0] = "probabilities"

    model = load_onnx(written(tmp_path / "m.onnx", no_softmax))
    with pytest.raises(FmnistError, match="must give probabilities of 2 classes for each image; it does not"):
        model.probabilities(np.ones((1, 28, 28), np.uint8))


def test_what_fails_while_it_computes_is_one_clean_message(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def reshape(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([7, 112]), "shape"))
        model.graph.node[1].CopyFrom(helper.make_node("Reshape", ["floats", "shape"], ["flat"]))

    with pytest.raises(FmnistError, match=r"m.onnx must (compute without an error|be a model)"):
        load_onnx(written(tmp_path / "m.onnx", reshape)).probabilities(np.ones((1, 28, 28), np.uint8))
    assert capfd.readouterr() == ("", "")


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_with_any_byte_changed_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(tiny().SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "m.onnx").write_bytes(bytes(content[: data.draw(st.integers(1, len(content)))]))
    try:
        found = load_onnx(tmp_path / "m.onnx").probabilities(np.ones((1, 28, 28), np.uint8))
    except FmnistError:
        return
    assert found.shape[0] == 1


def test_a_device_other_than_the_cpu_is_refused_and_not_replaced(tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx")
    assert load_classifier(path, "cpu").class_names == NAMES
    with pytest.raises(FmnistError, match="computed on the CPU, got --device cuda"):
        load_classifier(path, "cuda")


def test_reading_one_needs_neither_torch_nor_scikit_learn(tmp_path: Path) -> None:
    written(tmp_path / "m.onnx")
    code = (
        "import sys, numpy\n"
        "from pathlib import Path\n"
        "from fmnist.classifier import load_classifier\n"
        f"found = load_classifier(Path({str(tmp_path / 'm.onnx')!r}), None)\n"
        "print(found.probabilities(numpy.zeros((1, 28, 28), numpy.uint8)).shape)\n"
        "sys.exit(' '.join({'torch', 'torchvision', 'sklearn', 'optuna'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert (done.stdout, done.stderr, done.returncode) == ("(1, 2)\n", "", 0)
