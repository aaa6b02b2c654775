"""Rules for what no configuration of the tables in `cases` has, because Triton's own parser or a server without that
backend could not judge it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from portalis.errors import UsageError
from portalis.model_repository_gen import pbtxt
from portalis.model_repository_gen.pbtxt import from_text, new_config, read_config
from portalis.model_repository_gen.repository_check import check_repository
from portalis.model_repository_gen.rules import check_model_config
from portalis.model_repository_gen.samples import describe_sample
from tests.model_repository_gen import cases
from tests.model_repository_gen.cases import Case, write
from tests.model_repository_gen.test_samples import spec, warmed


def reported(text: str) -> list[str]:
    return [str(problem) for problem in check_model_config(from_text(text))]


def test_a_step_with_an_invalid_version_is_an_error() -> None:
    step = cases.step("q:x r:y", "s:z", version=-2)
    assert any("expected a version of 1 or more, or -1, got -2" in each for each in reported(cases.ensemble(step)))


def test_a_parameter_selects_the_engine_of_wasm_not_the_runtime_field() -> None:
    """The first of a backend's two runtimes that Triton loads can run all models of the backend."""
    (problem,) = reported('runtime: "model.py" ' + cases.BATCHED)
    assert problem == (
        "runtime: 'model.py' can become the runtime of the server's other 'wasm' models, too. Remove it: the"
        " parameter wasm.engine selects what runs a module."
    )
    assert reported(cases.IN_PYTHON) == []


def test_a_missing_file_of_another_backend_is_a_warning(tmp_path: Path) -> None:
    text = 'backend: "mine" default_model_filename: "model.mine"'
    write(tmp_path, "m", Case(text, files={"1/.keep": b""}))
    (problem,) = [each for each in check_repository(tmp_path)["m"] if each.where == "1/model.mine"]
    assert "backend 'mine' might require it" in problem.message


def test_a_kind_that_protobuf_does_not_know_is_an_error() -> None:
    config = new_config(backend="wasm")
    config.instance_group.add().kind = 9
    assert any("unknown kind 9" in str(each) for each in check_model_config(config))


def test_a_format_of_tensorrt_needs_three_dims() -> None:
    tensor = 'name: "x" data_type: TYPE_FP32 dims: 1 is_non_linear_format_io: true'
    assert any("expected 3 dims" in each for each in reported(f'platform: "tensorrt_plan" input {{ {tensor} }}'))


def test_a_batch_output_of_an_unknown_kind_is_an_error() -> None:
    config = new_config(backend="wasm")
    config.batch_output.add(target_name=["y"]).kind = 9
    assert any("unknown kind 9 of a batch output" in str(each) for each in check_model_config(config))


def test_a_model_that_leaves_its_dims_to_the_backend_is_not_compared(tmp_path: Path) -> None:
    bare = 'backend: "wasm" input { name: "q" } input { name: "r" } output { name: "s" }'
    write(tmp_path, "m", Case(bare))
    write(tmp_path, "e", cases.ensemble_case(cases.ensemble(cases.step("q:x r:y", "s:z", model="m")), "", ""))
    assert check_repository(tmp_path)["e"] == []


def test_a_model_that_the_server_might_batch_matches_an_ensemble_that_batches(tmp_path: Path) -> None:
    io = "".join(
        f'{side} {{ name: "{n}" data_type: TYPE_FP32 dims: 1 }} ' for side, n in (("input", "q"), ("output", "s"))
    )
    write(tmp_path, "m", Case(f'backend: "wasm" max_batch_size: 0 {io}'))
    step = cases.step("q:x", "s:z", model="m")
    write(tmp_path, "e", cases.ensemble_case(cases.ensemble(step, inputs="x", dims="-1 dims: 1"), "", ""))
    assert check_repository(tmp_path)["e"] == []


@pytest.mark.parametrize(
    ("source", "content"),
    [
        ("random_data: true", "random values"),
        ("zero_data: true", "zeros"),
        ('input_data_file: "a"', "data from warmup/a"),
    ],
)
def test_the_data_of_a_sample_is_described(source: str, content: str) -> None:
    config = from_text(warmed("FP32", "[2]", source))
    assert describe_sample(config, [spec("x")], {"x": np.zeros(2, np.float32)}) == f"x FP32 [2] of {content}"


def test_a_configuration_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pbtxt, "MAX_BYTES", 10)
    path = tmp_path / "config.pbtxt"
    path.write_text('backend: "wasm"')
    with pytest.raises(UsageError, match="at most 10 bytes"):
        read_config(path)
