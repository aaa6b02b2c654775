"""The modules of a plan are valid and fit together for every guest, and are reproducible; the handling of instances
matches the guest's state."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest
import wasmtime

from portalis.backend.plan import control
from portalis.backend.plan.control import FIXED_AT, TEXTS_AT
from portalis.backend.plan.planner import Plan, adapter
from portalis.backend.plan.rewind import REWIND_MAX_BYTES
from portalis.backend.wasm.binary import FuncType, ModuleInfo, read_module
from tests.backend import guests
from tests.backend.guests import tensor
from tests.backend.plan.plans import MODULES, made
from tests.running.waiting import PATIENCE_S

ISOLATIONS = ["request", "batch", "instance"]


def infos(plan: Plan) -> list[ModuleInfo]:
    return [read_module(each.wasm) for each in plan.modules]


@pytest.mark.parametrize("isolation", ISOLATIONS)
@pytest.mark.parametrize("name", MODULES)
def test_every_module_of_a_plan_is_valid_and_imports_only_from_earlier_ones(name: str, isolation: str) -> None:
    plan = made(MODULES[name], isolation)
    read = infos(plan)
    assert [each.builtin for each in plan.modules] == [False] + [True] * (len(plan.modules) - 1)
    for number, (each, info) in enumerate(zip(plan.modules, read)):
        wasmtime.Module.validate(wasmtime.Engine(), each.wasm)
        if number:
            assert len(each.links) == len(info.imports)
            for link, wanted in zip(each.links, info.imports):
                assert link.module < number
                export = read[link.module].export(link.name)
                assert export is not None and export.kind == wanted.kind
                if export.kind == "func":
                    assert export.type == wanted.type


def test_the_bridge_exports_the_adapters_imports_and_its_memory() -> None:
    wasm, names = adapter()
    imports = read_module(wasm).imports
    assert [each.name for each in imports] == list(names)
    for module in MODULES.values():
        plan = made(module)
        bridge = read_module(plan.modules[plan.bridge].wasm)
        for wanted in imports:
            export = bridge.export(wanted.name)
            assert export is not None and export.kind == wanted.kind
            assert export.kind != "func" or export.type == wanted.type
        assert bridge.export("tensors") is not None


def test_the_adapter_exports_the_four_functions_that_executors_call() -> None:
    info = read_module(adapter()[0])
    types = {export.name: export.type for export in info.exports if export.kind == "func"}
    none = FuncType((), ("i32",))
    assert types == {"place": none, "restore": none, "explain": none, "run": FuncType(("i32", "i32"), ("i32",))}


@pytest.mark.parametrize("isolation", ISOLATIONS)
@pytest.mark.parametrize("name", MODULES)
def test_a_guest_imports_none_of_the_generated_modules_and_each_memory_has_one_owner(name: str, isolation: str) -> None:
    plan = made(MODULES[name], isolation)
    guest, *others = infos(plan)
    assert {each.module for each in guest.imports} <= {"wasi_snapshot_preview1", "env"}
    bridge = others[-2]
    (own,) = bridge.memories[-1:]
    # the control block, the planner's data, and memory for the initial state if it is saved
    pages = own.minimum
    assert pages * 65536 >= TEXTS_AT + (REWIND_MAX_BYTES if plan.rewinds else 0)
    assert pages * 65536 <= TEXTS_AT + REWIND_MAX_BYTES + (64 << 10) * 2


@pytest.mark.parametrize("name", MODULES)
def test_the_bridges_memory_initially_contains_the_adapters_data(name: str) -> None:
    plan = made(MODULES[name])
    store = wasmtime.Store(wasmtime.Engine())
    made_instances: list[dict[str, object]] = []
    linker = wasmtime.Linker(store.engine)
    linker.define_wasi()
    store.set_wasi(wasmtime.WasiConfig())
    for each in plan.modules[:-1]:
        module = wasmtime.Module(store.engine, each.wasm)
        if not each.links:
            instance = linker.instantiate(store, module)
        else:
            given = [made_instances[link.module][link.name] for link in each.links]
            instance = wasmtime.Instance(store, module, given)  # type: ignore[arg-type]
        made_instances.append(dict(instance.exports(store).items()))
    memory = made_instances[plan.bridge]["memory"]
    assert isinstance(memory, wasmtime.Memory)
    convention, _, inputs, outputs, max_batch = _head(bytes(memory.read(store, FIXED_AT, FIXED_AT + 24)))
    interface = plan.interface
    assert (inputs, outputs, max_batch) == (
        len(interface.inputs),
        len(interface.outputs),
        interface.max_batch_size,
    )
    assert (
        convention
        == {"dlpack": control.DLPACK, "elementwise": control.ELEMENTWISE, "gufunc": control.GUFUNC}[
            interface.convention.value
        ]
    )
    texts = bytes(memory.read(store, TEXTS_AT, TEXTS_AT + 4096))
    assert all(spec.name.encode() in texts for spec in (*interface.inputs, *interface.outputs))


def _head(data: bytes) -> tuple[int, ...]:
    return (
        *(int.from_bytes(data[i : i + 4], "little") for i in range(0, 16, 4)),
        int.from_bytes(data[16:24], "little"),
    )


# -- the same bytes ----------------------------------------------------------------------------------------------------

DIGESTS = """
import hashlib
from tests.backend.plan.plans import MODULES, made
for module in MODULES.values():
    for isolation in ("request", "batch", "instance"):
        print(*(hashlib.sha256(each.wasm).hexdigest() for each in made(module, isolation).modules))
"""


def test_a_module_has_the_same_plan_in_every_process() -> None:
    """The cache identifies the machine code of the modules by their bytes."""
    message = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", DIGESTS],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=True,
        )
        message.add(done.stdout)
    here = "\n".join(
        " ".join(hashlib.sha256(each.wasm).hexdigest() for each in made(module, isolation).modules)
        for module in MODULES.values()
        for isolation in ISOLATIONS
    )
    assert message == {here + "\n"}


def test_guests_with_equal_interfaces_share_bridge_loop_and_adapter() -> None:
    """These modules are therefore compiled only once."""
    first, second = (
        made(
            guests.wasm(
                guests.ADD.replace("f32.add", op),
                {
                    "entry": "add",
                    "convention": "elementwise",
                    "inputs": [tensor("a"), tensor("b")],
                    "outputs": [tensor("y")],
                },
            )
        )
        for op in ("f32.add", "f32.sub")
    )
    assert first.modules[0] != second.modules[0]
    assert first.modules[-2:] == second.modules[-2:]


# -- handling of instances ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "isolation", "keep", "stateful", "rewinds", "joins"),
    [
        ("dlpack", "request", False, False, True, False),
        ("dlpack", "batch", False, False, True, True),
        ("dlpack", "instance", True, True, False, True),
        ("dlpack with a host", "batch", False, False, False, False),
        ("dlpack with a host", "instance", True, True, False, False),
        ("elementwise, copied", "request", True, False, False, False),
        ("elementwise, copied", "instance", True, False, False, True),
        ("elementwise with a state", "batch", False, False, True, True),
        ("elementwise with a state", "instance", True, True, False, True),
        ("gufunc with malloc", "batch", False, False, True, False),
        ("gufunc with malloc", "instance", True, True, False, False),
    ],
)
def test_an_instance_is_kept_rewound_or_created_again(
    name: str, isolation: str, keep: bool, stateful: bool, rewinds: bool, joins: bool
) -> None:
    plan = made(MODULES[name], isolation)
    assert (plan.keep, plan.stateful, plan.rewinds, plan.joins) == (keep, stateful, rewinds, joins)


def test_the_guest_is_modified_only_to_export_its_globals() -> None:
    for isolation in ISOLATIONS:
        for module in MODULES.values():
            plan = made(module, isolation)
            exported = [e.name for e in read_module(plan.modules[0].wasm).exports]
            exposed = [name for name in exported if name.startswith("portalis.global.")]
            assert bool(exposed) == (plan.rewinds and any(g.mutable for g in read_module(module).globals))
            assert (plan.modules[0].wasm == module) == (not exposed)


def test_a_plan_records_whether_the_guest_needs_a_host_and_has_a_memory() -> None:
    for name, module in MODULES.items():
        plan = made(module)
        assert plan.needs_host == ("host" in name)
        assert plan.has_memory == (not name.startswith("elementwise, "))


@pytest.mark.parametrize(
    ("exports", "initializer"),
    [
        ("", None),
        ('(func (export "_start"))', "_start"),
        ('(func (export "_initialize"))', "_initialize"),
    ],
)
def test_an_instance_is_initialized_by_the_exported_initializer(exports: str, initializer: str | None) -> None:
    text = f'(module {exports} (func (export "f") (param f32) (result f32) (local.get 0)))'
    assert made(guests.wasm(text), interface={"entry": "f"}).initializer == initializer
