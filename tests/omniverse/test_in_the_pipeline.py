"""A package with modules that Kit cannot run: the errors, and the stages that continue."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import wasmtime

from portalis.contracts.errors import ErrorType, OmniversePackagingError
from portalis.contracts.output import PackagingAgentOutput, Status, WarningSeverity
from portalis.pipeline import Options, run_pipeline
from portalis.spec.read import make_spec

CALLABLE = '(func (export "f") (param f32) (result f32) local.get 0)'
MODULES = {
    "good": "",
    "threads": '(memory (export "memory") 1 2 shared)',
    "unknown": '(import "game" "tick" (func)) (import "env" "log" (func (param i32)))',
    "wide": '(memory (export "memory") i64 1)',
    "hungry": '(memory (export "memory") 5000)',
}


class Quiet:
    """A listener that ignores all notifications."""

    def started(self, name: str, title: str) -> None: ...
    def progressed(self, text: str) -> None: ...
    def ended(self, stage: Any) -> None: ...


def spec(folder: Path, *names: str, **more: Any) -> dict[str, Any]:
    for name in names:
        (folder / f"{name}.wasm").write_bytes(bytes(wasmtime.wat2wasm(f"(module {MODULES[name]} {CALLABLE})")))
    return {
        "package_name": "demo",
        "package_version": "1.2.3",
        "output_directory": "out",
        "wasm_binaries": [f"{name}.wasm" for name in names],
        "enable_nim_packaging": False,
        "enable_distribution_archive": False,
        "generate_api_docs": False,
        "omniverse_config": {"prebundle": False},
        **more,
    }


def run(folder: Path, *names: str, **more: Any) -> PackagingAgentOutput:
    return run_pipeline(
        make_spec(spec(folder, *names, **more), base=folder, source="the test's spec"), Options(), Quiet()
    )


def of_kit(made: PackagingAgentOutput) -> list[Any]:
    return [each for each in made.diagnostics.errors if each.error_type is ErrorType.OmniverseCompatibilityError]


def test_modules_with_threads_and_unknown_imports_are_a_partial_success_that_names_them(tmp_path: Path) -> None:
    made = run(tmp_path, *MODULES, enable_triton_integration=False)
    assert made.status is Status.PartialSuccess
    (extension,) = made.artifacts.omniverse_packages
    assert extension.validated
    assert [each.module_name for each in extension.wasm_modules] == ["good", "hungry"]
    reported = {error.details.incompatible_modules[0]: error for error in of_kit(made)}
    assert list(reported) == ["threads", "unknown", "wide"]
    assert "it uses threads" in reported["threads"].message
    assert "it has imports that the host does not provide: game.tick, env.log." in reported["unknown"].message
    assert "it has a 64-bit memory" in reported["wide"].message
    assert all(error.remediation for error in reported.values())
    (warning,) = [each for each in made.diagnostics.warnings if "hungry" in each.message]
    assert warning.severity is WarningSeverity.High
    assert "max_memory_bytes" in warning.remediation


def test_without_a_compatible_module_the_stage_fails_and_the_other_stages_continue(tmp_path: Path) -> None:
    wanted = [{"module_name": name, "file_path": f"{name}.wasm", "entry_point": "f"} for name in ("unknown", "wide")]
    config = {"prebundle": False, "wasm_modules": wanted}
    made = run(tmp_path, "good", "unknown", "wide", omniverse_config=config, enable_distribution_archive=True)
    assert made.status is Status.PartialSuccess
    stages = {each.name: each for each in made.packaging_metrics.stages}
    assert stages["omniverse"].outcome == "failed"
    assert "no module of the package can run in Omniverse Kit" in (stages["omniverse"].reason or "")
    assert {stages[name].outcome for name in ("triton", "archive")} == {"produced"}
    assert made.artifacts.omniverse_packages == ()
    assert [each.model_name for each in made.artifacts.triton_models] == ["demo_good"]
    (error,) = of_kit(made)
    assert isinstance(error.details, OmniversePackagingError)
    assert error.details.incompatible_modules == ("unknown", "wide")
    assert not (tmp_path / "out" / "omniverse").exists()


def refused(folder: Path, config: dict[str, Any]) -> str:
    """The command's output for an invalid spec; it must not write files."""
    (folder / "portalis.json").write_text(json.dumps(spec(folder, "good", omniverse_config=config)))
    command = [sys.executable, "-m", "portalis", "package", "portalis.json"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not (folder / "out").exists()
    return done.stderr


def test_all_problems_of_the_extension_are_reported_together_before_files_are_written(tmp_path: Path) -> None:
    (tmp_path / "icon.png").write_bytes(b"GIF89a")
    output = refused(
        tmp_path,
        {"extension_name": "omni.Mine", "required_kit_version": "105.1", "extension_icon": "icon.png"},
    )
    assert "omniverse_config.extension_name: 'omni.Mine' begins with omni., which is reserved for NVIDIA" in output
    assert "omniverse_config.required_kit_version: '105.1' is outside 106 to 110" in output
    assert "icon.png' is not a PNG, the only format that Kit displays" in output


def test_a_missing_icon_is_reported_before_files_are_written(tmp_path: Path) -> None:
    output = refused(tmp_path, {"extension_icon": "gone.png"})
    assert "omniverse_config.extension_icon: " in output
    assert "gone.png does not exist" in output


def test_a_module_of_more_than_100_mb_is_a_warning(tmp_path: Path) -> None:
    table = spec(tmp_path, "good", enable_triton_integration=False)
    path = tmp_path / "good.wasm"
    size = 101 << 20
    with path.open("ab") as file:  # a custom section called "a" of zeros
        file.write(b"\0" + leb128(size + 2) + b"\x01a")
        file.truncate(file.tell() + size)
    made = run_pipeline(make_spec(table, base=tmp_path, source="the test's spec"), Options(), Quiet())
    assert made.status is Status.Success
    (warning,) = [each for each in made.diagnostics.warnings if "it is large" in each.message]
    assert warning.severity is WarningSeverity.Medium
    (extension,) = made.artifacts.omniverse_packages
    assert extension.validated


def leb128(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
