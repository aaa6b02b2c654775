"""Settings of the package apply to the models that support them; the report lists the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from portalis.contracts.output import Status
from tests.model_repository_gen import jobs

CONTROLS = {
    "control_inputs": [
        {"name": "START", "control_type": "Start", "data_type": "FP32"},
        {"name": "END", "control_type": "End", "data_type": "BOOL"},
        {"name": "ID", "control_type": "CorrelationId"},
    ],
    "oldest": {"max_candidate_sequences": 4},
}
WARM = {"name": "w", "inputs": {"x": {"data_type": "FP32", "dims": [1], "zero_data": True}}}


def reported(written: jobs.Written) -> list[str]:
    return [warning.message for warning in written.made.warnings]


def settings(written: jobs.Written, name: str) -> dict[str, Any]:
    found: dict[str, Any] = MessageToDict(written.config(name), preserving_proto_field_name=True)
    return found


def test_preferred_batch_sizes_reach_the_models_that_batch(tmp_path: Path) -> None:
    batching = {"preferred_batch_size": [4, 8, 16], "max_queue_delay_microseconds": 100}
    written = jobs.Written(jobs.make(tmp_path, "add", "echo", "unbatched", dynamic_batching=batching))
    assert list(written.models) == ["demo_add", "demo_echo", "demo_unbatched"]
    assert written.made.errors == ()
    assert settings(written, "demo_add")["dynamic_batching"]["preferred_batch_size"] == [4, 8, 16]
    echo = settings(written, "demo_echo")["dynamic_batching"]  # its maximum is 8
    assert (echo["preferred_batch_size"], echo["max_queue_delay_microseconds"]) == ([4, 8], "100")
    assert "dynamic_batching" not in settings(written, "demo_unbatched")
    part, none = reported(written)
    assert part.startswith(
        "triton_config.dynamic_batching applies to model 'demo_echo' in part (without preferred_batch_size 16): "
    )
    assert "expected at most 8 (max_batch_size), got 16" in part
    assert none.startswith("triton_config.dynamic_batching does not apply to model 'demo_unbatched': ")
    assert all("wasm_binaries.triton_config" in each.remediation for each in written.made.warnings)


@pytest.mark.parametrize(
    ("modules", "setting", "without", "field"),
    [
        (("sequence", "echo"), {"sequence_batching": CONTROLS}, "demo_echo", "sequence_batching"),
        (("echo", "cat"), {"warmup": [WARM]}, "demo_cat", "model_warmup"),
        (("add", "unbatched"), {"max_batch_size": 4}, "demo_unbatched", "max_batch_size"),
        (
            ("echo", {"path": "sequence", "triton_config": {"sequence_batching": CONTROLS}}),
            {"response_cache": True},
            "demo_sequence",
            "response_cache",
        ),
        (
            ("echo", {"path": "sequence", "triton_config": {"sequence_batching": CONTROLS}}),
            {"dynamic_batching": {"max_queue_delay_microseconds": 7}},
            "demo_sequence",
            "dynamic_batching",
        ),
    ],
    ids=["sequences", "warm-up", "batch size", "cache", "two schedulers"],
)
def test_an_unsupported_setting_is_dropped_for_its_model(
    tmp_path: Path, modules: tuple[Any, ...], setting: dict[str, Any], without: str, field: str
) -> None:
    written = jobs.Written(jobs.make(tmp_path, *modules, **setting))
    assert len(written.models) == 2, written.made.errors
    assert written.made.errors == ()
    (warning,) = reported(written)
    assert warning.startswith(f"triton_config.{next(iter(setting))} does not apply to model {without!r}: ")
    assert not warning.endswith(": ")
    for name, model in written.models.items():
        assert (field in settings(written, name)) == (name != without)
        assert model.validated, model.validation_report


def test_a_batch_size_above_a_modules_own_is_lowered_to_it(tmp_path: Path) -> None:
    written = jobs.Written(jobs.make(tmp_path, "add", "echo", max_batch_size=32))
    assert [model.max_batch_size for model in written.models.values()] == [32, 8]
    (warning,) = reported(written)
    assert "max_batch_size applies to model 'demo_echo' in part (8 instead of 32): " in warning


def test_an_unsupported_parameter_does_not_drop_the_others(tmp_path: Path) -> None:
    parameters = {"wasm.entry": "square", "wasm.timeout_ms": "500"}
    written = jobs.Written(jobs.make(tmp_path, "two", "echo", backend_parameters=parameters))
    assert set(settings(written, "demo_two")["parameters"]) == {"wasm.entry", "wasm.timeout_ms"}
    assert set(settings(written, "demo_echo")["parameters"]) == {"wasm.timeout_ms"}
    (warning,) = reported(written)
    assert "in part (without wasm.entry)" in warning


def test_an_unsupported_setting_of_the_module_itself_is_an_error(tmp_path: Path) -> None:
    own = {"path": "unbatched", "triton_config": {"dynamic_batching": {"preferred_batch_size": [4]}}}
    written = jobs.Written(jobs.make(tmp_path, "add", own, dynamic_batching={"preferred_batch_size": [8]}))
    assert list(written.models) == ["demo_add"]
    (error,) = written.made.errors
    assert "demo_unbatched" in error.message and "preferred_batch_size" in error.message


def test_the_packages_settings_are_those_of_its_only_module(tmp_path: Path) -> None:
    made = jobs.run(jobs.make(tmp_path, "unbatched", dynamic_batching={"preferred_batch_size": [4]}))
    assert made.status is Status.Failure


def test_a_setting_that_applies_to_no_module_is_an_error(tmp_path: Path) -> None:
    spec = jobs.make(
        tmp_path, "unbatched", {"path": "unbatched", "name": "other"}, dynamic_batching={"preferred_batch_size": [4]}
    )
    made = jobs.run(spec)
    assert made.status is Status.PartialSuccess
    assert len(made.artifacts.triton_models) == 2
    (error,) = made.diagnostics.errors
    assert error.message.startswith("triton_config.dynamic_batching applies to no model of the package: ")
    assert len(made.diagnostics.warnings) == 2


def test_two_unsupported_settings_are_both_reported(tmp_path: Path) -> None:
    written = jobs.Written(
        jobs.make(tmp_path, "echo", "cat", "unbatched", warmup=[WARM], dynamic_batching={"preferred_batch_size": [8]})
    )
    assert len(written.models) == 3 and written.made.errors == ()
    found = [(each.split(" ")[0], each.split("'")[1]) for each in reported(written)]
    assert found == [
        ("triton_config.warmup", "demo_cat"),
        ("triton_config.dynamic_batching", "demo_unbatched"),
    ]
