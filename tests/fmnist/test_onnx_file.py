"""Untrusted .onnx files: each is read, or refused with one message."""

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
    """A model of two classes: softmax of the sum of the pixels times a weight per class."""
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
    set_metadata(model, labels=json.dumps(NAMES))
    return model


def set_metadata(model: onnx.ModelProto, **entries: str) -> None:
    metadata = {entry.key: entry.value for entry in model.metadata_props} | entries
    helper.set_model_props(model, {key: value for key, value in metadata.items() if value != "absent"})


def written(path: Path, *changes: Change) -> Path:
    model = tiny()
    for change in changes:
        change(model)
    path.write_bytes(model.SerializeToString())
    return path


def test_a_valid_file_is_read(tmp_path: Path) -> None:
    model = load_onnx(written(tmp_path / "m.onnx"))
    assert (model.class_names, model.data, model.preparation.form) == (NAMES, None, CENTRED)
    pixels = np.zeros((3, 28, 28), np.uint8)
    pixels[1] = 1
    probabilities = model.probabilities(pixels)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities[[0, 2]], 0.5)
    assert probabilities[1, 1] == pytest.approx(1 / (1 + np.exp(-7.84)), abs=1e-6)
    assert model.probabilities(np.zeros((1001, 28, 28), np.uint8)).shape == (1001, 2)  # several batches


def make_external(tensor: TensorProto, path: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=path)


def add_nested_external(model: onnx.ModelProto) -> None:
    """Add an external tensor in a branch of an If, which onnx.load would read as well."""
    tensor = onnx.numpy_helper.from_array(np.zeros(2, np.float32), "leak")
    make_external(tensor, "/etc/passwd")
    branch = helper.make_graph([helper.make_node("Constant", [], ["out"], value=tensor)], "branch", [], [])
    model.graph.node.append(helper.make_node("If", ["c"], ["d"], then_branch=branch, else_branch=branch))


def with_shape(field: str, dtype: int, *shape: Any) -> Change:
    def change(model: onnx.ModelProto) -> None:
        values = getattr(model.graph, field)
        values[0].CopyFrom(helper.make_tensor_value_info(values[0].name, dtype, list(shape)))

    return change


def add_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def set_unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Reboot"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda m: make_external(m.graph.initializer[0], "/etc/passwd"), "points at other files, which are not read"),
        (lambda m: make_external(m.graph.initializer[0], "weights.bin"), "points at other files, which are not read"),
        (add_nested_external, "points at other files, which are not read"),
        (lambda m: set_metadata(m, labels="absent"), "under 'labels'; it has none"),
        (lambda m: set_metadata(m, labels="{"), "metadata 'labels' must be a JSON list of 2 to 100 names"),
        (lambda m: set_metadata(m, labels="[" * 10_000), "metadata 'labels' must be a JSON list"),
        (lambda m: set_metadata(m, labels='["one"]'), "metadata 'labels' must be a JSON list"),
        (lambda m: set_metadata(m, labels='["a", "a"]'), "metadata 'labels' must be a JSON list"),
        (lambda m: set_metadata(m, labels='["a", "b\\u001b[2J"]'), "metadata 'labels' must be a JSON list"),
        (lambda m: set_metadata(m, labels='["a", 3]'), "metadata 'labels' must be a JSON list"),
        (lambda m: set_metadata(m, labels=json.dumps(["x" * 101, "y"])), "metadata 'labels' must be a JSON list"),
        (
            lambda m: set_metadata(m, labels=json.dumps([str(i) for i in range(101)])),
            "metadata 'labels' must be a JSON list",
        ),
        (lambda m: set_metadata(m, labels='["a", "b", "c"]'), r"must give one output of float [N, 3], got"),
        (
            lambda m: set_metadata(m, pictures="turned\x1b[2J"),
            "metadata 'pictures' must say how its pictures were prepared",
        ),
        (
            with_shape("input", TensorProto.FLOAT, "N", 28, 28),
            'must read one input of uint8 [N, 28, 28], got "tensor(float)',
        ),
        (with_shape("input", TensorProto.UINT8, "N", 784), "must read one input of uint8 [N, 28, 28], got"),
        (with_shape("input", TensorProto.UINT8, 1, 28, 28), "must read one input of uint8 [N, 28, 28], got"),
        (add_input, "must read one input of uint8 [N, 28, 28], got"),
        (set_unknown_operator, "must be a model that ONNX Runtime can load"),
    ],
)
def test_an_invalid_file_is_refused_with_one_message(change: Change, text: str, tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx", change)
    with pytest.raises(FmnistError) as caught:
        load_onnx(path)
    message = str(caught.value)
    assert message.startswith(f"{path}")
    assert text in message
    assert message.isprintable()


def test_other_files_are_refused(tmp_path: Path) -> None:
    for content in (b"", b"no protobuf", b"\x80\x04\x95", b"\xff" * 1000):
        (tmp_path / "m.onnx").write_bytes(content)
        with pytest.raises(FmnistError, match=r"m\.onnx"):
            load_onnx(tmp_path / "m.onnx")
    with pytest.raises(FmnistError, match="must be readable: No such file"):
        load_onnx(tmp_path / "absent.onnx")
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(FmnistError, match="must be a file, got a pipe"):
        load_onnx(tmp_path / "pipe.onnx")
    with (tmp_path / "large.onnx").open("wb") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(FmnistError, match="must be at most 268,435,456 bytes"):
        load_onnx(tmp_path / "large.onnx")


def test_output_that_is_not_a_probability_is_refused(tmp_path: Path) -> None:
    def remove_softmax(model: onnx.ModelProto) -> None:
        del model.graph.node[3]
        model.graph.node[2].output[0] = "probabilities"

    model = load_onnx(written(tmp_path / "m.onnx", remove_softmax))
    with pytest.raises(FmnistError, match="must give probabilities of 2 classes for each image; it does not"):
        model.probabilities(np.ones((1, 28, 28), np.uint8))


def test_an_error_while_computing_is_one_message(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def reshape(model: onnx.ModelProto) -> None:
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([7, 112]), "shape"))
        model.graph.node[1].CopyFrom(helper.make_node("Reshape", ["floats", "shape"], ["flat"]))

    with pytest.raises(FmnistError, match=r"m.onnx must (compute without an error|be a model)"):
        load_onnx(written(tmp_path / "m.onnx", reshape)).probabilities(np.ones((1, 28, 28), np.uint8))
    assert capfd.readouterr() == ("", "")


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(tiny().SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "m.onnx").write_bytes(bytes(content[: data.draw(st.integers(1, len(content)))]))
    try:
        probabilities = load_onnx(tmp_path / "m.onnx").probabilities(np.ones((1, 28, 28), np.uint8))
    except FmnistError:
        return
    assert probabilities.shape[0] == 1


def test_a_device_other_than_the_cpu_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "m.onnx")
    assert load_classifier(path, "cpu").class_names == NAMES
    with pytest.raises(FmnistError, match="computed on the CPU, got --device cuda"):
        load_classifier(path, "cuda")


@pytest.mark.process
def test_reading_needs_neither_torch_nor_scikit_learn(tmp_path: Path) -> None:
    written(tmp_path / "m.onnx")
    code = (
        "import sys, numpy\n"
        "from pathlib import Path\n"
        "from fmnist.classifier import load_classifier\n"
        f"classifier = load_classifier(Path({str(tmp_path / 'm.onnx')!r}), None)\n"
        "print(classifier.probabilities(numpy.zeros((1, 28, 28), numpy.uint8)).shape)\n"
        "sys.exit(' '.join({'torch', 'torchvision', 'sklearn', 'optuna'} & set(sys.modules)) or 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert (result.stdout, result.stderr, result.returncode) == ("(1, 2)\n", "", 0)
