"""Whether a module can be served is one rule: every command and every server says the same of it, in the same words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from portalis.annotation import amend_interface, over_limits, replace_interfaces
from portalis.backend import ModuleError, Program, WasmError
from portalis.errors import UsageError
from portalis.inspection import inspect_module
from portalis.nim.build_plan import unservable
from portalis.nim.local import served_folder
from portalis.nim.service.module_model import ModuleModel, SchedulerOptions
from portalis.nim.service.settings import ModelSettings
from portalis.omniverse.compatibility import KitSeverity, check_kit_compatibility
from portalis.omniverse.inside.programs import Programs
from portalis.problems import InputProblems
from portalis.spec_file import spec_file
from tests.backend import guests
from tests.backend.cannot_load import BAD, NO_MODULE, Bad, F, wat

from .conftest import Cli
from .pipeline.conftest import Workplace

GOOD = wat(F)


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


@pytest.fixture(params=BAD)
def bad(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bad]:
    """A module that cannot be loaded, in bad.wasm beside good.wasm, which can."""
    found = BAD[request.param]
    (tmp_path / "bad.wasm").write_bytes(found.module)
    (tmp_path / "good.wasm").write_bytes(GOOD)
    yield found
    with Program.load(tmp_path / "good.wasm") as good:  # the same process goes on
        assert good.run({"x0": np.array([[1]], np.float32)})["y"].tolist() == [[1]]


def test_every_tool_says_the_same_of_it(bad: Bad, tmp_path: Path, workplace: Workplace) -> None:
    path = tmp_path / "bad.wasm"
    with pytest.raises(ModuleError) as caught:
        Program.load(path)
    assert bad.message in str(caught.value)
    found = inspect_module(path)
    assert found.invalid is None
    assert [each.kind for each in found.findings("inspect")][:1] == [bad.kind]
    for tool, message in {
        "inspect": found.refused,
        "init": "\n".join(spec_file([path], folder=tmp_path, name=None, version="1.0.0").notes),
        "package": _package(workplace, "bad"),
        "the service": _service(path),
        "the service's image": _image(workplace, path),
        "Kit": _kit(path),
        "the extension": str([*map(str, check_kit_compatibility(found).findings)]),
    }.items():
        assert bad.message in (message or ""), tool


def test_annotate_writes_nothing_into_what_no_setting_helps(bad: Bad, tmp_path: Path) -> None:
    if bad.limit:
        assert bad.message in over_limits(amend_interface(bad.module, {"description": "d"}, where="bad.wasm"))[0]
        return
    declared = {} if bad.kind in ("allocator", "start") else {"entry": "f"}
    found = inspect_module(tmp_path / "bad.wasm").interface
    assert found is not None
    entry = found.to_json()
    writes: list[Callable[[], bytes]] = [
        lambda: amend_interface(bad.module, declared, where="bad.wasm"),
        lambda: replace_interfaces(bad.module, [entry], where="bad.wasm"),
    ]
    for write in writes:
        with pytest.raises(ModuleError) as caught:
            write()
        assert str(caught.value).startswith("bad.wasm cannot be loaded: ")
        assert bad.message in str(caught.value)


def _package(workplace: Workplace, name: str, **given: Any) -> str:
    made = workplace.package(workplace.spec("good", name, triton_config=given), only=["triton"])
    assert [model.model_name for model in made.artifacts.triton_models] == ["demo_good"]
    (error,) = made.diagnostics.errors
    assert f"model 'demo_{name}' would not load: " in error.message
    assert "triton_config or the module's interface" not in error.remediation.summary
    return error.message


def _service(path: Path) -> str:
    model = ModuleModel(ModelSettings(name="bad", file=path.name), path.parent, SchedulerOptions())
    model.start()
    try:
        assert not model.ready
        return model.failure
    finally:
        model.close()


def _image(workplace: Workplace, path: Path) -> str:
    job: Any = SimpleNamespace(spec=workplace.spec("bad"))
    found = unservable(job, SimpleNamespace(name="bad", inspection=inspect_module(path, tool="spec")))  # type: ignore[arg-type]
    assert found is not None
    return found.reason


def _kit(path: Path) -> str:
    programs = Programs(path.parent, {"bad": {"file": path.name, "entry": "f", "interface": {}}}, {})
    with pytest.raises(WasmError) as caught:
        programs.get("bad")
    return str(caught.value)


def test_a_limit_is_raised_in_the_words_of_the_tool_and_then_the_module_is_served(
    tmp_path: Path, workplace: Workplace
) -> None:
    bad = BAD["a first memory above the limit"]
    path = tmp_path / "bad.wasm"
    path.write_bytes(bad.module)
    assert "raise limits.max_memory_bytes in service.json to 327680000 or more" in _service(path)
    assert "raise the extension's setting max_memory_bytes to 327680000 or more" in _kit(path)
    made = workplace.package(workplace.spec("bad"), only=["triton"])
    (error,) = made.diagnostics.errors
    assert 'Raise "wasm.max_memory_bytes" in triton_config.backend_parameters to 327680000' in error.remediation.summary
    for value, served in (("327680000", True), ("4GiB", True), ("327679999", False)):
        parameters = {"backend_parameters": {"wasm.max_memory_bytes": value}}
        made = workplace.package(workplace.spec("bad", triton_config=parameters), only=["triton"], force=True)
        assert [model.model_name for model in made.artifacts.triton_models] == (["demo_bad"] if served else [])
    settings = ModelSettings(name="bad", file="bad.wasm", limits={"max_memory_bytes": 327680000})
    model = ModuleModel(settings, tmp_path, SchedulerOptions())
    model.start()
    assert (model.ready, model.failure) == (True, "")
    model.close()
    programs = Programs(
        tmp_path, {"bad": {"file": "bad.wasm", "entry": "f", "interface": {}}}, {"max_memory_bytes": 327680000}
    )
    assert programs.run("bad", {"x0": np.array([[1]], np.float32)})["y"].tolist() == [[1]]
    (finding,) = check_kit_compatibility(inspect_module(path)).findings
    assert (finding.severity, finding.why.count("327680000"), finding.why.count("268435456")) == (
        KitSeverity.High,
        1,
        1,
    )


def test_run_refuses_what_no_setting_helps_and_leaves_a_limit_to_the_model(bad: Bad, tmp_path: Path) -> None:
    paths = [tmp_path / "good.wasm", tmp_path / "bad.wasm"]
    if bad.limit:
        with served_folder(paths, None, {}) as served:
            assert [model.name for model in served.settings.models] == ["good", "bad"]
        return
    with pytest.raises(UsageError) as caught, served_folder(paths, None, {}):
        pass
    assert bad.message in caught.value.message
    assert "annotate" not in caught.value.remediation


@pytest.mark.parametrize("name", NO_MODULE)
def test_a_proposal_in_the_types_is_reported_alike(name: str, tmp_path: Path, workplace: Workplace) -> None:
    module, message = NO_MODULE[name]
    path = tmp_path / "bad.wasm"
    path.write_bytes(module)
    says: list[Callable[[], object]] = [
        lambda: Program.load(path),
        lambda: inspect_module(path),
        lambda: amend_interface(module, {}, where="bad.wasm"),
        lambda: spec_file([path], folder=tmp_path, name=None, version="1.0.0"),
        lambda: workplace.package(workplace.spec("bad"), only=["triton"]),
    ]
    for say in says:
        with pytest.raises((ModuleError, InputProblems)) as caught:
            say()
        assert message in str(caught.value)
    assert message in _service(path)


COMMANDS = (
    "abort without parameters",
    "a first memory above the limit",
    "a kernel that grows its memory",
    "legacy exceptions",
    "data behind its memory",
)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_commands_exit_with_what_they_say(cli: Cli, tmp_path: Path, name: str) -> None:
    bad, folder = BAD[name], tmp_path / "cwd"
    (folder / "bad.wasm").write_bytes(bad.module)
    looked = cli("inspect", "bad.wasm", "--json")
    report = json.loads(looked.stdout)
    assert (looked.returncode, report["valid"]) == (1, True)
    assert report["problems"][0]["why"].startswith(bad.message.partition("; the host's")[0])
    assert bad.message in cli("inspect", "bad.wasm").stdout
    written = cli("init", "bad.wasm")
    assert (written.returncode, "next: portalis package" in written.stdout) == (1, False)
    assert bad.message in written.stdout
    annotated = cli("annotate", "bad.wasm", "--description", "d", "-o", "out.wasm")
    assert annotated.returncode == (0 if bad.limit else 1)
    assert bad.message in annotated.stderr
    assert (folder / "out.wasm").exists() == bool(bad.limit)


def test_a_module_that_start_initialises_is_good_for_every_tool(tmp_path: Path, workplace: Workplace) -> None:
    described = {
        "entry": "scale",
        "convention": "elementwise",
        "inputs": [guests.tensor("x")],
        "outputs": [guests.tensor("y")],
    }
    text = """(module (memory (export "memory") 1) (global $g (mut f32) (f32.const 0))
      (func (export "_start") (global.set $g (f32.const 10)))
      (func (export "scale") (param f32) (result f32) (f32.mul (local.get 0) (global.get $g))))"""
    path = tmp_path / "started.wasm"
    path.write_bytes(guests.wasm(text, described))
    assert inspect_module(path).unservable_reason("inspect") is None
    made = workplace.package(workplace.spec("started"), only=["triton"])
    assert [model.model_name for model in made.artifacts.triton_models] == ["demo_started"]
    model = ModuleModel(ModelSettings(name="started", file="started.wasm"), tmp_path, SchedulerOptions())
    model.start()
    assert model.ready
    assert model.program.run({"x": np.array([1, 2], np.float32)})["y"].tolist() == [10, 20]
    model.close()
