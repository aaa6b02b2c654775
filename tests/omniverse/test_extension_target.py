"""The target: its files, excluded modules, and the report."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest
import wasmtime

from portalis.contracts.errors import ErrorType, OmniversePackagingError
from portalis.omniverse import extension_target as target
from portalis.omniverse import kit
from portalis.omniverse.extension_documents import TEMPLATES
from portalis.target import StageError, Target
from portalis.wasm_backend import island_files

from .conftest import EXAMPLES, Package

BLOCKED = bytes(
    wasmtime.wat2wasm('(module (import "game" "tick" (func)) (func (export "f") (param f32) (result f32) local.get 0))')
)


@pytest.fixture(autouse=True)
def _no_kit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kit.PYTHON, "/nowhere/python")


def test_the_module_satisfies_the_protocol(package: Package) -> None:
    checked: Target = target
    assert checked.skip_reason(package.read()) is None
    package.spec |= {"enable_omniverse_packaging": False}
    assert checked.skip_reason(package.read()) == "enable_omniverse_packaging is false"


def test_the_tree_has_kits_layout(package: Package) -> None:
    made = package.make()
    root = "omniverse/exts/portalis_ext.two_examples/"
    inside = {name.removeprefix(root) for name in package.files() if name.startswith(root)}
    runtime = {name for name in inside if "/portalis_backend/" in name}
    assert sorted(inside - runtime) == [
        "config/extension.toml",
        "data/icon.png",
        "data/preview.png",
        "docs/CHANGELOG.md",
        "docs/README.md",
        "docs/integration.md",
        "portalis_ext/two_examples/__init__.py",
        "portalis_ext/two_examples/about.json",
        "portalis_ext/two_examples/attributes.py",
        "portalis_ext/two_examples/bundled.py",
        "portalis_ext/two_examples/extension.py",
        "portalis_ext/two_examples/frames.py",
        "portalis_ext/two_examples/integration.py",
        "portalis_ext/two_examples/log.py",
        "portalis_ext/two_examples/models.py",
        "portalis_ext/two_examples/modules.json",
        "portalis_ext/two_examples/processor.py",
        "portalis_ext/two_examples/programs.py",
        "portalis_ext/two_examples/runtime.py",
        "portalis_ext/two_examples/steps.py",
        "portalis_ext/two_examples/tests/__init__.py",
        "portalis_ext/two_examples/tests/test_modules.py",
        "wasm_modules/gelu.wasm",
        "wasm_modules/softmax.wasm",
    ]
    folder = "portalis_ext/two_examples/portalis_backend"
    assert set(runtime) == {f"{folder}/{path}" for path, _ in island_files()}
    assert f"{folder}/lib/x86_64/libwasm_core.so" in runtime
    (artifact,) = made.artifacts.omniverse_packages
    assert artifact.validated
    assert artifact.package_path == str(
        package.output / "omniverse" / "portalis_ext.two_examples-1.2.3+110.0.lx64.cp312.zip"
    )
    for path in (artifact.package_path, artifact.extension_toml_path, artifact.readme_path):
        assert Path(path).is_file()
    assert [(each.module_name, each.entry_point) for each in artifact.wasm_modules] == [
        ("gelu", "gelu"),
        ("softmax", "softmax"),
    ]
    assert artifact.examples_path is None


def test_the_archive_has_the_extension_at_its_root_and_is_the_same_every_time(package: Package) -> None:
    first = package.make()
    before = package.files()
    package.make()
    assert package.files() == before
    with zipfile.ZipFile(package.output / first.tool_outputs[0]) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    root = "omniverse/exts/portalis_ext.two_examples/"
    assert packed == {name.removeprefix(root): data for name, data in before.items() if name.startswith(root)}


def test_without_package_as_extension_the_directory_is_the_package(package: Package) -> None:
    package.config["package_as_extension"] = False
    made = package.make()
    assert made.tool_outputs == ()
    assert made.artifacts.omniverse_packages[0].package_path == str(package.folder)
    assert not list(package.output.rglob("*.zip"))


def test_an_incompatible_module_is_an_error_and_the_others_are_packaged(package: Package) -> None:
    package.module("blocked", BLOCKED)
    made = package.make()
    (error,) = made.errors
    assert error.kind is ErrorType.OmniverseCompatibilityError
    assert "module blocked cannot run in Omniverse Kit" in error.message
    assert error.details == OmniversePackagingError(
        incompatible_modules=("blocked",),
        validation_errors=(
            (
                "it is not WASI compliant: it has imports that the host does not provide: game.tick. The host provides only the"
                " functions of wasi_snapshot_preview1 and env.abort"
            ),
        ),
    )
    assert sorted(path.name for path in (package.folder / "wasm_modules").iterdir()) == ["gelu.wasm", "softmax.wasm"]
    assert "blocked" not in (package.folder / "docs" / "README.md").read_text()
    assert made.artifacts.omniverse_packages[0].validated


def test_without_one_compatible_module_the_stage_fails_and_names_them_all(package: Package) -> None:
    package.binaries = []
    package.module("one", BLOCKED)
    package.module("two", BLOCKED)
    with pytest.raises(StageError) as caught:
        package.make()
    assert isinstance(caught.value.details, OmniversePackagingError)
    assert caught.value.details.incompatible_modules == ("one", "two")
    assert not package.output.exists()


def test_without_validation_all_modules_are_packaged(package: Package) -> None:
    package.module("blocked", BLOCKED)
    package.config["validate_wasm_compatibility"] = False
    assert package.make().errors == ()
    assert (package.folder / "wasm_modules" / "blocked.wasm").read_bytes() == BLOCKED


def test_a_large_memory_is_a_warning(package: Package) -> None:
    wide = '(module (memory (export "memory") 2000) (func (export "f") (param f32) (result f32) local.get 0))'
    package.module("wide", bytes(wasmtime.wat2wasm(wide)))
    made = package.make()
    assert made.errors == ()
    assert [each.message.split(":")[0] for each in made.warnings] == ["module wide in an Omniverse extension"]


def test_the_listed_modules_are_packaged_under_their_own_names_and_entries(package: Package) -> None:
    two = '(module (func (export "f") (param f32) (result f32) local.get 0) (func (export "g") (param f64) (result f64) local.get 0))'
    path = package.input("two.wasm", bytes(wasmtime.wat2wasm(two)))
    gelu = str(EXAMPLES / "gelu" / "gelu.wasm")
    package.config["wasm_modules"] = [
        {"module_name": "activation", "file_path": gelu, "description": "GELU"},
        {"module_name": "second", "file_path": path, "entry_point": "g"},
        {"module_name": "text", "file_path": package.input("text.wasm", b"no module"), "entry_point": "g"},
    ]
    made = package.make()
    (artifact,) = made.artifacts.omniverse_packages
    assert [(each.module_name, each.entry_point, each.description) for each in artifact.wasm_modules] == [
        ("activation", "gelu", "GELU"),
        ("second", "g", ""),
    ]
    (error,) = made.errors
    assert "module text cannot be read" in error.message


def test_images_and_scenes_of_the_spec_are_copied(package: Package) -> None:
    picture = (TEMPLATES / "preview.png").read_bytes()
    package.config |= {
        "extension_icon": package.input("my icon.png", picture),
        "example_scenarios": [{"name": "waves", "scenario_file": package.input("s.USDA", b"#usda 1.0\n")}],
    }
    made = package.make()
    assert (package.folder / "data" / "icon.png").read_bytes() == picture
    assert (package.folder / "examples" / "waves.usda").read_bytes() == b"#usda 1.0\n"
    assert made.artifacts.omniverse_packages[0].examples_path == str(package.folder / "examples")


def test_a_live_run_without_kit_is_reported_as_not_validated(package: Package) -> None:
    package.live = True
    made = package.make()
    static, live = made.validation_results
    assert static.valid
    assert (live.check, live.valid, live.tried) == ("live", False, False)
    assert "Omniverse Kit is not installed" in live.report
    assert kit.PYTHON in live.report
    assert made.errors == ()  # the pipeline reports requested outputs that are missing
    assert not made.artifacts.omniverse_packages[0].validated
    assert any(
        "is not validated: Omniverse Kit is not installed" in each.message and kit.PYTHON in each.remediation
        for each in made.warnings
    )


def test_an_extension_that_was_damaged_before_the_check_is_invalid(package: Package, tmp_path: Path) -> None:
    job = package.job(tmp_path / "staging")
    (job.staging / "omniverse").mkdir(parents=True)
    made = target.run(job, target.generate(job))
    assert not made.artifacts.omniverse_packages[0].validated
    assert "config/extension.toml cannot be read" in made.validation_results[0].report
    assert len(made.errors) == 1


def test_the_modules_are_the_inputs_byte_for_byte(package: Package) -> None:
    package.make()
    for name in ("gelu", "softmax"):
        source = (EXAMPLES / name / f"{name}.wasm").read_bytes()
        packed = (package.folder / "wasm_modules" / f"{name}.wasm").read_bytes()
        assert hashlib.sha256(packed).digest() == hashlib.sha256(source).digest()
