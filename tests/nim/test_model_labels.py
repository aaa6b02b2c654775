"""Label files of a spec: `portalis run` and images serve them with the modules."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

import pytest
import wasmtime

from portalis.nim.local import served_folder
from portalis.nim.model_labels import with_labels
from portalis.nim.service.settings import ModelSettings
from portalis.nim.service_context import ImageLabels, build_context
from portalis.problems import InputProblems
from portalis.spec import read_spec
from portalis.spec.container import ContainerConfiguration
from tests import parts

SPEC = """
package_name = "sums"
package_version = "2.0.0"
output_directory = "out"
[[wasm_binaries]]
path = "add.wasm"
[[wasm_binaries.triton_config.outputs]]
name = "y"
data_type = "FP32"
dims = [-1]
label_filename = "names/odd name.txt"
[[wasm_binaries]]
path = "plain.wasm"
"""
ADD = '(module (func (export "add") (param f32 f32) (result f32) (f32.add (local.get 0) (local.get 1))))'


IMAGE = """
[[wasm_binaries.triton_config.inputs]]
name = "x"
data_type = "FP32"
dims = [3, 2, 2]
format = "NCHW"
[[wasm_binaries.triton_config.inputs]]
name = "mask"
data_type = "FP32"
dims = [4]
format = "Linear"
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    for name in ("add", "plain"):
        (tmp_path / f"{name}.wasm").write_bytes(wasmtime.wat2wasm(ADD))
    (tmp_path / "names").mkdir()
    (tmp_path / "names" / "odd name.txt").write_bytes(b"low\nhigh\n")
    (tmp_path / "portalis.toml").write_text(SPEC)
    return tmp_path / "portalis.toml"


def test_portalis_run_serves_the_label_files_of_a_spec(spec: Path) -> None:
    with served_folder([spec], None, {}) as served:
        labels = {model.name: model.labels for model in served.settings.models}
        assert labels == {"add": {"y": "add.labels0.txt"}, "plain": {}}
        assert (served.folder / "add.labels0.txt").read_bytes() == b"low\nhigh\n"
    assert any(
        "triton_config.outputs" in each and "the label files of outputs are used" in each for each in served.warnings
    )


def test_an_image_contains_the_label_files_of_a_spec(spec: Path) -> None:
    package = read_spec(spec)
    binary = package.wasm_binaries[0]
    model, files = with_labels(ModelSettings(name="add", file="add.wasm"), package, binary)
    assert files == {"add.labels0.txt": spec.parent / "names" / "odd name.txt"}
    config = ContainerConfiguration(base_image=parts.BASE_IMAGE)
    context = build_context(
        config, models=[(model, binary.path)], labels=ImageLabels(package="p", version="1.0.0"), label_files=files
    )
    document = context.files[PurePosixPath("models/service.json")]
    assert isinstance(document, bytes)
    assert json.loads(document)["models"][0]["labels"] == {"y": "add.labels0.txt"}
    assert context.files[PurePosixPath("models/add.labels0.txt")] == files["add.labels0.txt"]


def test_a_label_file_that_does_not_exist_is_an_error_of_the_spec(spec: Path) -> None:
    (spec.parent / "names" / "odd name.txt").unlink()
    with pytest.raises((InputProblems, FileNotFoundError)), served_folder([spec], None, {}):
        pass


def test_the_formats_of_images_of_a_spec_are_settings_of_the_model(spec: Path) -> None:
    spec.write_text(SPEC.split('[[wasm_binaries]]\npath = "plain.wasm"', maxsplit=1)[0] + IMAGE)
    package = read_spec(spec)
    binary = package.wasm_binaries[0]
    model, _ = with_labels(ModelSettings(name="add", file="add.wasm"), package, binary)
    assert model.formats == {"x": "NCHW"}


def test_portalis_run_reports_the_formats_of_images_as_used(spec: Path) -> None:
    spec.write_text(SPEC + IMAGE.replace('"x"', '"p0"').replace('"mask"', '"p1"'))
    with served_folder([spec], None, {}) as served:
        formats = {model.name: model.formats for model in served.settings.models}
    assert formats == {"add": {}, "plain": {"p0": "NCHW"}}
    assert any("the formats of images are used" in each for each in served.warnings), served.warnings
