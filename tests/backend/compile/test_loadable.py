"""Whether a module can be loaded: one function decides, and the real engine agrees with it."""

from __future__ import annotations

import contextlib
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st

from portalis.backend import Limits, ModuleError, Program, WasmError, constants
from portalis.backend.compile import loadable
from portalis.backend.compile.compiler import compile_module, explain_compile_failure
from portalis.backend.compile.engine import EngineSettings
from portalis.backend.compile.loading import deserialize_module
from portalis.backend.executor import host
from portalis.backend.interface.discovery import discover
from portalis.backend.setting_names import (
    ANNOTATE_NAMES,
    INFER_NAMES,
    INSPECT_NAMES,
    KIT_NAMES,
    NAMES_BY_TOOL,
    PYTHON_NAMES,
    SERVICE_NAMES,
    SPEC_NAMES,
    TRITON_NAMES,
)
from portalis.backend.triton.config import read_model
from portalis.backend.wasm import assembler as emit
from portalis.backend.wasm import proposals, segments
from portalis.backend.wasm.binary import read_module
from portalis.backend.wasm.imports import HOST_FUNCTIONS, WASI
from portalis.backend.wasm.sections import FuncType
from portalis.inspection import Finding
from tests.backend import guests, pooled
from tests.backend.cannot_load import BAD, NO_MODULE, F, wat

ONE = {"x0": np.array([[1]], np.float32)}


def refusal(module: bytes, **more: Any) -> str:
    with pytest.raises(ModuleError) as caught:
        Program.load(module, **more)
    return str(caught.value)


@pytest.mark.parametrize("name", BAD)
def test_loading_rejects_it_and_the_next_module_is_served(name: str) -> None:
    bad = BAD[name]
    reported = refusal(bad.module, interface=None if bad.kind in ("allocator", "start") else {"entry": "f"})
    assert reported.startswith("the module cannot be loaded: it")
    assert bad.message in reported
    assert all(each in reported for each in bad.names)
    assert ("raise Limits." + bad.limit in reported) == bool(bad.limit)
    with Program.load(wat(F)) as good:
        assert good.run(ONE)["y"].tolist() == [[1]]


@pytest.mark.parametrize("name", NO_MODULE)
def test_a_proposal_in_the_types_is_reported_with_the_same_message(name: str) -> None:
    module, reported = NO_MODULE[name]
    assert reported in refusal(module)


@pytest.mark.parametrize("name", [name for name, bad in BAD.items() if bad.limit])
def test_a_module_that_a_limit_rejects_runs_with_a_higher_limit(name: str) -> None:
    bad = BAD[name]
    problem = loadable.load_problems(read_module(bad.module), None, Limits())[0]
    with Program.load(bad.module, limits=Limits(max_memory_bytes=problem.least)) as program:
        assert program.run(ONE)["y"].tolist() == [[1]]
    assert refusal(bad.module, limits=Limits(max_memory_bytes=problem.least - 1))


@pytest.mark.parametrize(
    "name",
    [n for n, bad in BAD.items() if bad.kind in ("import", "memory", "table", "segment", "size") and not bad.limit],
)
def test_the_engine_rejects_rejected_modules_too(name: str) -> None:
    """Without the check, the engine rejects these modules too."""
    module, settings, engine = BAD[name].module, EngineSettings(), pooled.engine()

    def instantiate() -> None:
        compiled = deserialize_module(engine, compile_module(module, settings, timeout_s=60, trusted=True))
        store = wasmtime.Store(engine)
        store.set_limits(memory_size=256 << 20, table_elements=constants.MAX_TABLE_ELEMENTS)
        store.set_epoch_deadline(1000)
        host.link_guest(engine, compiled, read_module(module)).instantiate(store)

    with pytest.raises((WasmError, wasmtime.WasmtimeError, wasmtime.Trap)):
        instantiate()


def test_the_configuration_of_a_module_that_cannot_be_loaded_is_not_completed(tmp_path: Path) -> None:
    for name, bad in BAD.items():
        (tmp_path / "model.wasm").write_bytes(bad.module)
        parameters = {} if bad.kind in ("allocator", "start") else {"wasm.entry": {"string_value": "f"}}
        in_code = bad.kind == "proposal" and not loadable.module_problems(read_module(bad.module), None)
        if in_code:
            read_model({"parameters": parameters}, tmp_path)  # only compilation detects it
            continue
        with pytest.raises(ModuleError) as caught:
            read_model({"parameters": parameters}, tmp_path)
        assert bad.message in str(caught.value), name
        if bad.limit:
            raised = {**parameters, f"wasm.{bad.limit}": {"string_value": "4GiB"}}
            assert read_model({"parameters": raised}, tmp_path).interface.entry == "f"


def test_every_problem_has_a_remediation_with_the_settings_of_each_tool() -> None:
    for bad in BAD.values():
        info = read_module(bad.module)
        interface = discover(info, where="m") if bad.kind in ("allocator", "start") else None
        for problem in loadable.load_problems(info, interface, Limits()):
            for setting_names in (
                TRITON_NAMES,
                PYTHON_NAMES,
                SPEC_NAMES,
                SERVICE_NAMES,
                KIT_NAMES,
                INSPECT_NAMES,
                INFER_NAMES,
                ANNOTATE_NAMES,
            ):
                reported = problem.message(setting_names)
                assert reported.startswith(problem.text + ": ")
                assert problem.remedy in reported
                if problem.limit:
                    assert f"raise {setting_names.limit.format(problem.limit)} to {problem.least} or more" in reported
            for tool in NAMES_BY_TOOL:
                assert Finding.from_problem(problem, tool).remediation[0].isupper()


def test_all_problems_are_reported_together() -> None:
    module = wat(f'(import "a" "b" (func)) (memory 5000 6000 shared) (data (i32.const -1) "0") {F}')
    reported = refusal(module, interface={"entry": "f"})
    assert all(each in reported for each in ("a.b", "threads", "data segment 0", "5000 pages"))


def test_names_from_a_module_are_truncated_and_escaped() -> None:
    name = "\\1b[31m" + "x" * 5000
    reported = refusal(wat(f'(import "{name}" "{name}" (func)) {F}'))
    assert len(reported) < 2000
    assert reported.isprintable()
    many = " ".join(f'(import "env" "f{i}" (func))' for i in range(500))
    assert len(refusal(wat(f"{many} {F}"))) < 2000


# -- the host's functions ----------------------------------------------------------------------------------------------


def test_the_host_functions_have_the_types_of_the_linker() -> None:
    from portalis.backend.executor import host

    engine = wasmtime.Engine()
    info = read_module(wat('(import "env" "abort" (func (param i32 i32 i32 i32)))'))
    linker, store = host.create_linker(engine, info), wasmtime.Store(engine)
    for (module, name), kind in HOST_FUNCTIONS.items():
        function = linker.get(store, module, name)
        assert isinstance(function, wasmtime.Func)
        found = function.type(store)
        assert FuncType(tuple(map(str, found.params)), tuple(map(str, found.results))) == kind, name


def test_every_function_of_the_host_can_be_imported_with_its_type() -> None:
    imports = "".join(
        f'(import "{module}" "{name}" (func (param {" ".join(kind.params)}) (result {" ".join(kind.results)})))'
        for (module, name), kind in HOST_FUNCTIONS.items()
    )
    with Program.load(wat(f'{imports} (memory (export "memory") 1) {F}')) as program:
        assert program.run(ONE)["y"].tolist() == [[1]]
    assert len(HOST_FUNCTIONS) == 47
    assert {module for module, _ in HOST_FUNCTIONS} == {WASI, "env"}


# -- proposals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("exceptions proposal not enabled (at offset 0x1a)", "exceptions"),
        ("legacy exceptions support is not enabled (at offset 0x1a)", "legacy-exceptions"),
        ("the custom page sizes proposal must be enabled to customize a memory's page size", "custom-page-sizes"),
        ("cannot define continuation types when stack switching is disabled", "stack-switching"),
        ("shared composite types require the shared-everything-threads proposal", "shared-everything-threads"),
        ("rec group usage requires `gc` proposal to be enabled (at offset 0xb)", "gc"),
        ("function references required for index reference types", "function-references"),
        ("something new support is not enabled", "unknown"),
        ("duplicate export name `threads must be enabled` already defined", None),
        ("unknown local 7: local index out of bounds", None),
        ("type mismatch: expected i32, found f32", None),
    ],
)
def test_a_message_of_the_validator_names_a_proposal_or_none(text: str, key: str | None) -> None:
    found = proposals.proposal_in_message(text)
    assert (found.key if found else None) == key
    assert explain_compile_failure(text).startswith(
        "cannot be loaded: it uses " if key else "is not valid WebAssembly: "
    )


def test_a_module_compiled_in_a_child_process_is_rejected_with_the_same_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("portalis.backend.compile.compiler.IN_PROCESS_BYTES", 0)
    bad = BAD["legacy exceptions"]
    assert bad.message in refusal(bad.module)


# -- what is accepted is loaded and instantiated -----------------------------------------------------------------------

LIMIT_PAGES = 32
LIMITS = Limits(max_memory_bytes=LIMIT_PAGES * 65536)
FUNCTIONS = sorted(HOST_FUNCTIONS)


@st.composite
def modules(draw: st.DrawFn) -> str:
    """Modules at the limits of what can be loaded."""
    parts = []
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        module, name = draw(st.sampled_from([*FUNCTIONS, ("env", "log"), (WASI, "nothing")]))
        types = st.lists(st.sampled_from(["i32", "i64", "f32"]), max_size=4)
        own = HOST_FUNCTIONS.get((module, name), FuncType((), ()))
        params, results = (own.params, own.results) if draw(st.booleans()) else (draw(types), draw(types)[:1])
        kind = f"(func (param {' '.join(params)}) (result {' '.join(results)}))"
        kind = draw(st.sampled_from([kind, kind, kind, "(global i32)", "(memory 1)", "(table 1 funcref)"]))
        parts.append(f'(import "{module}" "{name}" {kind})')
    edges = st.sampled_from([0, 1, 2, LIMIT_PAGES - 1, LIMIT_PAGES, LIMIT_PAGES + 1])
    memories = [draw(edges) for _ in range(draw(st.integers(0, 3)))]
    for minimum in memories:
        maximum = draw(st.sampled_from(["", minimum, minimum + 1, 65536]))
        parts.append(f"(memory {minimum} {maximum})")
    tables = [draw(st.sampled_from([0, 1, 5, 100_000, 100_001])) for _ in range(draw(st.integers(0, 5)))]
    parts += [f"(table {size} {draw(st.sampled_from(['funcref', 'externref']))})" for size in tables]
    imported = sum("(memory 1)" in part for part in parts)
    for i, minimum in enumerate(memories):
        size, at = draw(st.integers(0, 3)), draw(st.sampled_from([0, minimum * 65536 - 2, minimum * 65536, -1]))
        if draw(st.booleans()):
            parts.append(f'(data (memory {i + imported}) (i32.const {at}) "{"x" * size}")')
    funcrefs = [i for i, part in enumerate(p for p in parts if p.startswith("(table")) if "funcref" in part]
    first = sum("(table 1" in part for part in parts if part.startswith("(import"))
    for i in funcrefs[:2]:
        at, count = draw(st.sampled_from([0, max(tables[i] - 1, 0), tables[i]])), draw(st.integers(0, 2))
        parts.append(f"(elem (table {i + first}) (i32.const {at}) func{' $g' * count})")
    parts += ["(global (mut i32) (i32.const 1))"] * draw(st.integers(0, 2))
    start = draw(
        st.sampled_from(["", "", "(start $g)", '(export "_start" (func $g))', '(export "_initialize" (func $g))'])
    )
    return f"(module {' '.join(parts)} (func $g) {start} {F})"


@settings(max_examples=150, deadline=None)
@given(text=modules())
def test_accepted_modules_run_and_rejected_modules_do_not(text: str) -> None:
    module = guests.wasm(text)
    interface = discover(read_module(module), {"entry": "f", "convention": "elementwise"}, where="m")
    found = loadable.load_problems(read_module(module), interface, LIMITS)
    if not found:
        with Program.load(module, interface=interface, limits=LIMITS, cache=None) as program:
            assert program.run(ONE)["y"].tolist() == [[1]]
        return
    assert refusal(module, interface=interface, limits=LIMITS, cache=None).endswith(
        loadable.problems_sentence(found, PYTHON_NAMES)
    )
    assert not _instantiates(pooled.engine(), module)


def _instantiates(engine: wasmtime.Engine, module: bytes) -> bool:
    """Whether the module can be instantiated with these limits, without the checks of the runtime."""
    try:
        linker, store = wasmtime.Linker(engine), wasmtime.Store(engine)
        store.set_limits(memory_size=LIMITS.max_memory_bytes, table_elements=constants.MAX_TABLE_ELEMENTS)
        store.set_epoch_deadline(100)
        store.set_wasi(wasmtime.WasiConfig())
        linker.define_wasi()
        kind = wasmtime.FuncType([wasmtime.ValType.i32()] * 4, [])
        linker.define_func("env", "abort", kind, lambda *_: None)
        linker.instantiate(store, wasmtime.Module(engine, module))
    except (wasmtime.WasmtimeError, wasmtime.Trap):
        return False
    return True


def with_items(globals_: int, exports: int, lists: list[bytes]) -> bytes:
    """A module of many globals, exported functions and element segments."""
    functions = max(exports, 3000)
    return emit.module(
        emit.section(1, emit.vector([emit.func_type([], [])])),
        emit.section(3, emit.unsigned(functions) + bytes(functions)),
        emit.section(4, b"\1\x70\0\0"),
        emit.section(6, emit.unsigned(globals_) + b"\x7f\0\x41\0\x0b" * globals_),
        emit.section(7, emit.vector([emit.name(str(i)) + b"\0" + emit.unsigned(i) for i in range(exports)])),
        emit.section(9, emit.vector(lists)),
        emit.section(10, emit.unsigned(functions) + b"\2\0\x0b" * functions),
    )


LIST = emit.unsigned(2000) + b"".join(map(emit.unsigned, range(1000, 3000)))
EXPRESSIONS = emit.unsigned(2000) + b"".join(b"\xd2" + emit.unsigned(i) + b"\x0b" for i in range(1000, 3000))


@pytest.mark.parametrize(
    ("globals_", "exports", "lists"),
    [
        (9000, 0, []),
        (0, 4000, []),
        (4000, 2000, [b"\1\0" + LIST]),
        (4000, 0, [b"\1\0\0", b"\3\0" + LIST]),
        (4000, 0, [b"\5\x70" + EXPRESSIONS, b"\1\0\0"]),
    ],
)
def test_the_estimated_size_of_an_instance_is_a_tight_upper_bound(
    globals_: int, exports: int, lists: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wasmtime's error message contains the size of an instance."""
    monkeypatch.setattr(loadable, "MAX_INSTANCE_BYTES", 1 << 12)
    module = with_items(globals_, exports, lists)
    config = pooled.pool(wasmtime.Config(), max_core_instance_size=1 << 12)
    with pytest.raises(wasmtime.WasmtimeError) as caught:
        wasmtime.Module(wasmtime.Engine(config), module)
    found = re.search(r"requires (\d+) bytes", str(caught.value))
    assert found is not None
    problem = next(
        p for p in loadable.module_problems(read_module(module), None) if p.kind is loadable.LoadProblemKind.SIZE
    )
    reckoned = int(problem.text.split()[2])
    assert 0 <= reckoned - int(found[1]) <= constants.INSTANCE_BASE_BYTES
    monkeypatch.setattr(loadable, "MAX_INSTANCE_BYTES", reckoned)
    assert loadable.module_problems(read_module(module), None) == []


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_changed_bytes_give_an_error_or_a_result(data: st.DataObject) -> None:
    module = bytearray(BAD[data.draw(st.sampled_from(sorted(BAD)))].module)
    for _ in range(data.draw(st.integers(1, 3))):
        module[data.draw(st.integers(8, len(module) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(WasmError):
        info = read_module(bytes(module))
        loadable.load_problems(info, None, Limits())
        loadable.load_problems(info, discover(info, where="m"), Limits())


def test_segments_beyond_the_checked_maximum_are_left_to_the_engine() -> None:
    count = segments.MAX_SEGMENTS + 1
    types = emit.section(1, emit.vector([emit.func_type([], [])]))
    many = emit.module(
        types, emit.section(5, b"\1\0\0"), emit.section(11, emit.unsigned(count) + b"\0\x41\0\x0b\1x" * count)
    )
    assert loadable.module_problems(read_module(many), None) == []
    items = emit.unsigned(segments.MAX_ITEMS + 1) + bytes(segments.MAX_ITEMS + 1)
    elements = emit.section(9, b"\2" + b"\1\0" + items + b"\0\x41\0\x0b\1\0")
    long = emit.module(types, emit.section(4, b"\1\x70\0\0"), elements)
    assert loadable.module_problems(read_module(long), None) == []


def test_segments_with_a_computed_offset_are_checked_by_the_engine() -> None:
    offsets = ("(i32.add (i32.const 1) (i32.const 65535))", "(global.get $g)")
    for offset, passive in itertools.product(offsets, ('(data "x")', "")):
        text = f'(module (global $g i32 (i32.const 0)) (memory 1) {passive} (data (offset {offset}) "xx") {F})'
        try:
            info = read_module(guests.wasm(text))
        except wasmtime.WasmtimeError:
            continue
        assert loadable.module_problems(info, None) == []
