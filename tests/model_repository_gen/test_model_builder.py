"""Models of a package: their configurations, their artifacts, and the errors before files are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from portalis.contracts.errors import ErrorType, TritonConfigError
from portalis.model_repository_gen import model_repository_target as target
from portalis.target import StageError
from tests.model_repository_gen import jobs

X, Y = {"name": "x", "dtype": "FP32", "dims": [-1]}, {"name": "y", "dtype": "FP32", "dims": [-1]}
KERNEL = {"convention": "gufunc", "signature": "(n)->(n)", "inputs": [X], "outputs": [Y], "max_batch_size": 4}
TENSOR = {"name": "x", "data_type": "FP32", "dims": [-1]}


def refused(written: jobs.Written) -> str:
    (error,) = written.made.errors
    assert error.kind is ErrorType.TritonConfigError
    assert "Fix triton_config" in error.remediation
    return error.message


def test_each_module_is_a_model_with_an_artifact(tmp_path: Path) -> None:
    groups = [{"count": 2}, {"count": 3}]
    own = {
        "path": "add",
        "name": "plus",
        "triton_config": {"model_name": "own", "model_version": 4, "instance_groups": groups},
    }
    written = jobs.Written(jobs.make(tmp_path, "echo", own))
    assert list(written.models) == ["demo_echo", "own"]
    echo, plus = written.models.values()
    assert (echo.model_version, echo.max_batch_size, echo.instance_count, echo.platform) == (1, 8, 1, "wasm")
    assert (plus.model_version, plus.max_batch_size, plus.instance_count, plus.platform) == (4, 64, 5, "wasm")
    assert echo.validated and plus.validated
    assert echo.validation_report == "static: config.pbtxt is readable, its files exist, and Triton's rules are met"
    assert written.config("own").name == "own"
    assert written.made.errors == () and written.made.warnings == ()


def test_the_only_module_has_the_name_of_the_package_s_model(tmp_path: Path) -> None:
    assert list(jobs.Written(jobs.make(tmp_path, "echo", model_name="Echo-of-mine")).models) == ["Echo-of-mine"]
    own = {"path": "echo", "triton_config": {"model_name": "own"}}
    assert list(jobs.Written(jobs.make(tmp_path, own, model_name="shared")).models) == ["own"]


def test_a_modules_interface_from_the_spec_is_used_for_its_model(tmp_path: Path) -> None:
    written = jobs.Written(jobs.make(tmp_path, {"path": "double", "interface": KERNEL}))
    config = written.config("demo_double")
    assert [tensor.name for tensor in (*config.input, *config.output)] == ["x", "y"]
    assert config.max_batch_size == 4
    assert config.parameters["wasm.signature"].string_value == "(n)->(n)"


def test_parameters_of_the_backend_declare_the_interface(tmp_path: Path) -> None:
    two = {"path": "two", "triton_config": {"backend_parameters": {"wasm.entry": "square"}}}
    assert jobs.Written(jobs.make(tmp_path, two)).config("demo_two").parameters["wasm.entry"].string_value == "square"
    over = {**two, "interface": {"entry": "twice"}}
    assert jobs.Written(jobs.make(tmp_path, over)).config("demo_two").parameters["wasm.entry"].string_value == "square"
    both = jobs.Written(
        jobs.make(tmp_path, "echo", {**two, "triton_config": {"backend_parameters": {"wasm.entry": "cube"}}})
    )
    assert "exports no function 'cube'" in refused(both)
    bad = jobs.Written(
        jobs.make(tmp_path, "echo", {**two, "triton_config": {"backend_parameters": {"wasm.convention": "x"}}})
    )
    assert "parameter wasm.convention is 'x': use one of elementwise" in refused(bad)
    unasked = {
        "path": "two",
        "triton_config": {"platform": {"Custom": "mine"}, "backend_parameters": {"wasm.entry": "square"}},
    }
    assert "exports 2 functions" in refused(jobs.Written(jobs.make(tmp_path, "echo", unasked)))


@pytest.mark.parametrize("engine", ["auto", "native", "python"])
def test_each_model_can_select_its_engine(tmp_path: Path, engine: str) -> None:
    chosen = {"path": "two", "triton_config": {"backend_parameters": {"wasm.entry": "square", "wasm.engine": engine}}}
    written = jobs.Written(jobs.make(tmp_path, chosen, "echo"))
    assert written.config("demo_two").parameters["wasm.engine"].string_value == engine
    assert "wasm.engine" not in written.config("demo_echo").parameters


def test_the_target_can_be_disabled(tmp_path: Path) -> None:
    spec = jobs.make(tmp_path, "echo")
    assert target.skip_reason(spec) is None
    assert (
        target.skip_reason(spec.model_copy(update={"enable_triton_integration": False}))
        == "enable_triton_integration is false"
    )


def test_a_module_without_an_interface_is_an_error_and_the_others_are_built(tmp_path: Path) -> None:
    written = jobs.Written(jobs.make(tmp_path, "opaque", "echo"))
    assert list(written.models) == ["demo_echo"]
    assert refused(written).startswith(f"model 'demo_opaque' would not load: {tmp_path / 'opaque.wasm'}: the entry 'f'")
    details = written.made.errors[0].details
    assert isinstance(details, TritonConfigError)
    assert details.failed_models == ("demo_opaque",)
    assert len(details.config_errors) == 1 and "may take pointers" in details.config_errors[0]
    assert all(not path.startswith("demo_opaque") for path in written.files())


def test_a_module_without_an_interface_can_be_a_model_of_a_custom_backend(tmp_path: Path) -> None:
    tensors = {"inputs": [TENSOR], "outputs": [{**TENSOR, "name": "y"}]}
    custom = {"path": "opaque", "triton_config": {"platform": {"Custom": "mine"}, **tensors}}
    written = jobs.Written(jobs.make(tmp_path, custom))
    assert written.models["demo_opaque"].platform == "mine"
    assert written.models["demo_opaque"].validated
    half = {"path": "opaque", "triton_config": {"platform": {"Custom": "mine"}, "inputs": [TENSOR]}}
    assert "would not load" in refused(jobs.Written(jobs.make(tmp_path, half, "echo")))


def test_without_any_model_one_error_lists_all_reasons(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="^model 'demo_opaque' would not load") as alone:
        jobs.Written(jobs.make(tmp_path, "opaque"))
    assert alone.value.details is not None
    more = {"path": "add", "triton_config": {"max_batch_size": 4, "dynamic_batching": {"preferred_batch_size": [5]}}}
    with pytest.raises(StageError) as several:
        jobs.Written(jobs.make(tmp_path, "opaque", more))
    assert several.value.message.startswith("no model could be built: model 'demo_opaque' would not load: ")
    assert (
        "; model 'demo_add' would not load: dynamic_batching.preferred_batch_size[0]: expected at most 4"
        in several.value.message
    )
    assert several.value.kind is ErrorType.TritonConfigError
    assert several.value.remediation == alone.value.remediation
    details = several.value.details
    assert isinstance(details, TritonConfigError)
    assert details.failed_models == ("demo_opaque", "demo_add")
    assert len(details.config_errors) == 2
    assert not (tmp_path / "out").exists()


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "rule": ({"instance_groups": [{"kind": "CPU", "gpus": [0]}]}, "instance_group[0].gpus: a group of KIND_CPU cannot list GPUs"),
    "tensor": ({"inputs": [{**TENSOR, "name": "z"}]}, "the module has no input 'z'"),
    "type": ({"inputs": [{**TENSOR, "data_type": "INT8"}]}, "input 'x' is TYPE_INT8, but the module has TYPE_FP32"),
    "parameter": ({"backend_parameters": {"wasm.thread": "2"}}, "did you mean wasm.threads?"),
    "engine": ({"backend_parameters": {"wasm.engine": "nativ"}}, "parameter wasm.engine is 'nativ': use one of auto, native, python"),
    "native_threads": (
        {"backend_parameters": {"wasm.engine": "native", "wasm.threads": "2"}},
        "wasm.engine is native, but wasm.threads is 2",
    ),
    "native_python": (
        {"platform": "Python", "backend_parameters": {"wasm.engine": "native"}},
        "wasm.engine is native, but the backend is python, which runs its own executor: set wasm.engine to auto or python",
    ),
    "too_large": ({"max_batch_size": 9}, "max_batch_size is 9, but the module accepts batches of at most 8"),
    "batched": ({"max_batch_size": 0}, "max_batch_size is 0, and the module's tensors have a batch dimension: set 1 to 8"),
    "control": (
        {"sequence_batching": {"control_inputs": [{"name": "START", "control_type": "Start"}]}},
        "the module has no input 'START'",
    ),
    "no_dims": ({"inputs": [{**TENSOR, "dims": []}]}, "input[0].dims: 'x' has no dims"),
    "reshape": ({"inputs": [{**TENSOR, "dims": [4], "reshape": [2, 2]}]}, "input 'x' has dims [2, 2], but the module has [-1]"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_model_that_would_not_load_is_rejected_before_files_are_written(tmp_path: Path, name: str) -> None:
    fields, why = WRONG[name]
    written = jobs.Written(jobs.make(tmp_path, "add", {"path": "echo", "triton_config": fields}))
    assert refused(written).startswith("model 'demo_echo' would not load: ")
    assert why in refused(written)
    assert list(written.models) == ["demo_add"]


def test_all_problems_of_a_model_are_reported_together(tmp_path: Path) -> None:
    fields = {"instance_groups": [{"kind": "CPU", "gpus": [0]}], "backend_parameters": {"wasm.thread": "2"}}
    written = jobs.Written(jobs.make(tmp_path, "add", {"path": "echo", "triton_config": fields}))
    details = written.made.errors[0].details
    assert isinstance(details, TritonConfigError)
    assert [text.split(":")[0] for text in details.config_errors] == [
        "instance_group[0].gpus",
        "parameter wasm.thread is unknown (did you mean wasm.threads?); the parameters are wasm.entry, wasm.convention, wasm.signature, wasm.args, wasm.returns, wasm.timeout_ms, wasm.max_memory_bytes, wasm.max_module_bytes, wasm.compile_timeout_ms, wasm.max_output_bytes, wasm.max_stdout_bytes, wasm.max_stack_bytes, wasm.max_tensor_bytes, wasm.max_bytes_elements, wasm.isolation, wasm.threads, wasm.engine, wasm.trusted",
    ]


def test_a_reshape_to_the_modules_shape_is_valid(tmp_path: Path) -> None:
    reshaped = {"inputs": [{**TENSOR, "dims": [2, 2], "reshape": [4]}]}
    assert jobs.Written(jobs.make(tmp_path, "unbatched", **reshaped)).models["demo_unbatched"].validated


def step(model: str, source: str, result: str, **more: Any) -> dict[str, Any]:
    return {"model_name": model, "input_map": {"x": source}, "output_map": {"y": result}, **more}


def chain(*steps: dict[str, Any], name: str = "chain", batch: int = 8) -> dict[str, Any]:
    inputs, outputs = [{**TENSOR, "name": "in"}], [{**TENSOR, "name": "out"}]
    return {"name": name, "max_batch_size": batch, "inputs": inputs, "outputs": outputs, "steps": list(steps)}


def test_an_ensemble_chains_the_models_of_modules(tmp_path: Path) -> None:
    ensemble = chain(step("echo", "in", "mid"), step("demo_echo", "mid", "out"))
    written = jobs.Written(jobs.make(tmp_path, "echo", "add", ensembles=[ensemble]))
    assert [each.model_name for each in written.config("chain").ensemble_scheduling.step] == ["demo_echo"] * 2
    assert written.models["chain"].max_batch_size == 8
    assert written.models["chain"].validated


def test_an_ensemble_of_a_model_that_could_not_be_built_is_an_error(tmp_path: Path) -> None:
    ensembles = [chain(step("opaque", "in", "out")), chain(step("chain", "in", "out"), name="outer")]
    written = jobs.Written(jobs.make(tmp_path, "opaque", "echo", ensembles=ensembles))
    reported = written.errors()
    assert reported[1] == "model 'chain' would not load: its model 'demo_opaque' could not be built"
    assert reported[2].startswith("model 'outer' is not valid by Triton's rules: ")
    assert "the repository has no model 'chain' that can be loaded" in reported[2]
    assert not written.models["outer"].validated
    assert (written.models["outer"].validation_report or "").startswith(
        "static: ensemble_scheduling.step[0].model_name"
    )


def test_an_ensemble_whose_tensors_do_not_connect_is_rejected(tmp_path: Path) -> None:
    written = jobs.Written(jobs.make(tmp_path, "echo", ensembles=[chain(step("echo", "nowhere", "out"))]))
    assert refused(written).startswith(
        "model 'chain' would not load: input[0].name: no step uses the ensemble's input 'in'"
    )


HOSTILE = [
    "a'b",
    'say "x"',
    "${HOME}",
    "{{ name }}",
    "{",
    "}",
    "back\\slash",
    "naïve 模型 🦀",
    "# not a comment",
    "a:b",
    "x" * 200,
]


@pytest.mark.parametrize(
    "text", [*HOSTILE, "line\nbreak", "tab\tand\x7fdelete", "\x1b[31mred\x1b[0m", "\u202egnp.exe", "\u2028"]
)
def test_hostile_text_in_tensors_and_parameters_is_data(tmp_path: Path, text: str) -> None:
    tensors = {"inputs": [{**TENSOR, "name": text}], "outputs": [{**TENSOR, "name": "y"}]}
    custom = {"platform": {"Custom": "mine"}, "backend_parameters": {text: text}, **tensors}
    groups = {"instance_groups": [{"host_policy": text}]}
    written = jobs.Written(
        jobs.make(tmp_path, {"path": "opaque", "description": text, "triton_config": {**custom, **groups}})
    )
    config = written.config("demo_opaque")
    assert config.input[0].name == text
    assert dict.fromkeys(config.parameters) == {text: None}
    assert config.parameters[text].string_value == text
    assert config.instance_group[0].host_policy == text
    assert len(config.parameters) == len(config.input) == 1
    raw = (written.repository / "demo_opaque" / "config.pbtxt").read_text()
    assert all(character.isprintable() or character in "\n\u202e\u2028" for character in raw)


@pytest.mark.parametrize("name", ["naïve-模型-🦀", "a:b", "a@b", "50%", "x,y=z+1", "x" * 200])
def test_a_strange_name_that_is_a_directory_name_is_data(tmp_path: Path, name: str) -> None:
    spec = jobs.make(tmp_path, "echo", model_name=name)
    assert list(target.spec_problems(spec)) == []
    written = jobs.Written(spec)
    assert written.config(name).name == name
    assert written.models[name].validated, written.errors()
