"""Sequences of a spec: `portalis run` serves them, and refuses those that the service cannot run."""

from __future__ import annotations

from pathlib import Path

import pytest

from portalis.errors import UsageError
from portalis.nim.local import served_folder
from portalis.nim.model_sequences import sequence_problem, sequence_settings
from portalis.spec import read_spec
from portalis.spec.scheduling import SequenceBatchingConfig
from portalis.spec.triton import TritonConfiguration
from tests.nim.service.scheduling.stateful import sum_module

SPEC = """
package_name = "sums"
package_version = "2.0.0"
output_directory = "out"
[[wasm_binaries]]
path = "total.wasm"
[wasm_binaries.triton_config.backend_parameters]
"wasm.isolation" = "instance"
[wasm_binaries.triton_config.sequence_batching]
max_sequence_idle_microseconds = 5000000
control_inputs = [
  {name = "START", control_type = "Start"}, {name = "END", control_type = "End", data_type = "BOOL"},
  {name = "READY", control_type = "Ready", data_type = "FP32"}, {name = "ID", control_type = "CorrelationId"},
]
"""


def write(folder: Path, more: str = "") -> Path:
    (folder / "total.wasm").write_bytes(sum_module())
    (folder / "portalis.toml").write_text(SPEC + more)
    return folder / "portalis.toml"


def test_portalis_run_serves_the_sequences_of_a_spec(tmp_path: Path) -> None:
    with served_folder([write(tmp_path)], None, {}) as served:
        (model,) = served.settings.models
        assert model.isolation == "instance"
        assert model.sequence_batching is not None
        assert model.sequence_batching.max_idle_s == 5
        assert [control.kind for control in model.sequence_batching.control_inputs] == [
            "INT32",
            "BOOL",
            "FP32",
            "UINT64",
        ]
        # the file in an image has the same settings
        assert (
            type(served.settings).model_validate_json(served.settings.model_dump_json(exclude_defaults=True))
            == served.settings
        )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("iterative_sequence = true", "iterative_sequence: the service does not schedule a request again"),
        ('states = [{name = "s", data_type = "FP32", dims = [1]}]', "states: the service has no implicit state"),
    ],
)
def test_what_the_service_lacks_is_refused(tmp_path: Path, more: str, message: str) -> None:
    spec = write(tmp_path, more)
    with pytest.raises(UsageError, match=message), served_folder([spec], None, {}):
        pass
    config = read_spec(spec).triton_for(read_spec(spec).wasm_binaries[0])
    assert message in sequence_problem(config)
    assert sequence_settings(config) == {}


@pytest.mark.parametrize(
    ("groups", "count"),
    [
        ("[]", 1),
        ("[{}, {count = 3}]", 4),
        ("[{count = 2}, {count = 8, passive = true}]", 2),
        ("[{count = 8, passive = true}]", 1),
        ('[{kind = "GPU", count = 2, gpus = [0, 1, 2]}]', 6),
        ("[{count = 2000000000}, {count = 2000000000}]", 1024),
    ],
)
def test_the_instances_of_a_spec_are_counted(tmp_path: Path, groups: str, count: int) -> None:
    spec = write(tmp_path)
    table = "[wasm_binaries.triton_config.backend_parameters]"
    text = spec.read_text().replace(table, f"[wasm_binaries.triton_config]\ninstance_groups = {groups}\n{table}")
    spec.write_text(text)
    with served_folder([spec], None, {}) as served:
        assert served.settings.models[0].sequence_instances == count


def test_a_model_without_sequences_has_no_settings_of_them() -> None:
    assert sequence_settings(TritonConfiguration()) == {}
    settings = sequence_settings(TritonConfiguration(sequence_batching=SequenceBatchingConfig()))
    assert settings["isolation"] == "batch"
