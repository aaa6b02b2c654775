"""Inspections of small modules in the text format, and comparisons with wasmtime's own reading."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path

import pytest
import wasmtime

from portalis import wasm_backend
from portalis.backend import ModuleError, Program, WasmError
from portalis.examples.catalog import ECHO, EXAMPLES, Example
from portalis.inspection import Inspection, inspect_module
from tests.backend import guests

IDENTITY = '(func (export "f") (param f32) (result f32) (local.get 0))'
MODULES = sorted(example.module for example in (*EXAMPLES.values(), ECHO))
KINDS = {
    wasmtime.FuncType: "func",
    wasmtime.MemoryType: "memory",
    wasmtime.GlobalType: "global",
    wasmtime.TableType: "table",
}

# Each feature: what uses it, and the nearest that does not.
FEATURES = {
    "simd": (
        "(func (drop (v128.const i32x4 1 2 3 4)))",
        "(func (drop (i32.add (i32.const 1) (i32.const 2))))",
    ),
    "relaxed-simd": (
        "(func (param v128) (drop (i8x16.relaxed_swizzle (local.get 0) (local.get 0))))",
        "(func (param v128) (drop (i8x16.swizzle (local.get 0) (local.get 0))))",
    ),
    "threads": (
        "(memory 1) (func (drop (i32.atomic.load (i32.const 0))))",
        "(memory 1) (func (drop (i32.load (i32.const 0))))",
    ),
    "bulk-memory": (
        "(memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 1)))",
        "(memory 1) (func (i32.store8 (i32.const 0) (i32.const 0)))",
    ),
    "reference-types": ("(func (drop (ref.null func)))", "(table 1 funcref) (func $g) (elem (i32.const 0) $g)"),
    "memory64": ("(memory i64 1)", "(memory 1)"),
    "tail-call": ("(func $g (return_call $g))", "(func $g (call $g))"),
    "exceptions": ("(tag $t) (func (throw $t))", "(func unreachable)"),
    "gc": ("(func (drop (ref.i31 (i32.const 1))))", "(func (drop (ref.null extern)))"),
    "multi-memory": ("(memory 1) (memory 1)", "(memory 1)"),
    "multi-value": (
        "(func (result i32 i32) (i32.const 0) (i32.const 0))",
        "(func (param i32 i32) (result i32) (i32.const 0))",
    ),
    "function-references": (
        "(type $t (func)) (func (param (ref $t)) (call_ref $t (local.get 0)))",
        "(type $t (func)) (table 1 funcref) (func (call_indirect (type $t) (i32.const 0)))",
    ),
    "wide-arithmetic": (
        "(func (param i64) (i64.mul_wide_u (local.get 0) (local.get 0)) drop drop)",
        "(func (param i64) (i64.mul (local.get 0) (local.get 0)) drop)",
    ),
}


def sections(module: bytes) -> list[tuple[int, bytes]]:
    """Each section: its number, and all its bytes."""
    found, at = [], 8
    while at < len(module):
        size, shift, start = 0, 0, at
        while True:
            at += 1
            size |= (module[at] & 0x7F) << shift
            shift += 7
            if module[at] < 0x80:
                break
        at += 1 + size
        found.append((module[start], module[start:at]))
    assert at == len(module)
    return found


def look(tmp_path: Path, text: str, **declared: object) -> Inspection:
    """The inspection of the module in `text`."""
    path = tmp_path / "module.wasm"
    path.write_bytes(wasmtime.wat2wasm(text))
    return inspect_module(path, declared or None)


@pytest.mark.parametrize("feature", FEATURES)
def test_a_feature_is_named_where_the_module_uses_it_and_only_there(feature: str, tmp_path: Path) -> None:
    used, unused = FEATURES[feature]
    assert feature in look(tmp_path, f"(module {IDENTITY} {used})").features
    assert feature not in look(tmp_path, f"(module {IDENTITY} {unused})").features


def test_a_module_of_the_first_version_uses_no_feature(tmp_path: Path) -> None:
    found = look(tmp_path, f"(module {IDENTITY} (memory 1 2) (table 1 funcref) (global (mut i32) (i32.const 0)))")
    assert found.features == ()


def test_features_are_sorted_and_one_may_bring_another(tmp_path: Path) -> None:
    both = f"(module {IDENTITY} {FEATURES['relaxed-simd'][0]} {FEATURES['bulk-memory'][0]})"
    assert look(tmp_path, both).features == ("bulk-memory", "relaxed-simd", "simd")


@pytest.mark.parametrize(
    "text",
    [
        "(table 1 externref)",
        "(table 1 funcref) (table 1 funcref)",
        "(table 1 funcref) (func (drop (table.get (i32.const 0))))",
        "(table 1 funcref) (func (drop (table.size)))",
        "(func (local externref))",
        "(global externref (ref.null extern))",
        "(func (drop (select (result i32) (i32.const 0) (i32.const 0) (i32.const 0))))",
    ],
)
def test_reference_types_are_found_wherever_they_stand(text: str, tmp_path: Path) -> None:
    assert look(tmp_path, f"(module {IDENTITY} {text})").features == ("reference-types",)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_exports_and_imports_are_those_that_wasmtime_sees(path: Path) -> None:
    found, module = inspect_module(path), wasmtime.Module.from_file(wasmtime.Engine(), str(path))
    assert [(e.name, e.kind) for e in found.exports] == [(e.name, KINDS[type(e.type)]) for e in module.exports]
    assert [(i.module, i.name, i.kind) for i in found.imports] == [
        (i.module, i.name, KINDS[type(i.type)]) for i in module.imports
    ]
    types = [e["type"] for e in found.to_json()["exports"] if e["kind"] == "func"]
    assert types == [
        {"params": list(map(str, e.type.params)), "results": list(map(str, e.type.results))}
        for e in module.exports
        if isinstance(e.type, wasmtime.FuncType)
    ]


def test_every_kind_of_export_and_import_has_its_type(tmp_path: Path) -> None:
    found = look(
        tmp_path,
        """(module
        (import "env" "f" (func (param i32 f64) (result i64))) (import "env" "m" (memory 2 5))
        (import "env" "g" (global (mut f32))) (import "env" "t" (table 1 funcref))
        (export "f" (func 0)) (export "m" (memory 0)) (export "g" (global 0)) (export "t" (table 0)))""",
    ).to_json()
    types = [
        ("f", "func", {"params": ["i32", "f64"], "results": ["i64"]}),
        ("m", "memory", {"minimum": 2, "maximum": 5, "shared": False, "memory64": False}),
        ("g", "global", {"type": "mut f32"}),
        ("t", "table", None),
    ]
    assert [(e["name"], e["kind"], e["type"]) for e in found["exports"]] == types
    assert [(i["name"], i["kind"], i["type"]) for i in found["imports"]] == types
    assert {i["module"] for i in found["imports"]} == {"env"}


def test_size_digest_and_custom_sections_are_those_of_the_file() -> None:
    data = ECHO.module.read_bytes()
    found = inspect_module(ECHO.module)
    assert (found.name, found.size_bytes, found.sha256) == ("echo.wasm", len(data), hashlib.sha256(data).hexdigest())
    assert [name for name, _ in found.custom_sections] == ["portalis"]
    module = data.index(b"portalis{") + len(b"portalis")
    assert found.custom_sections[0][1] == len(data) - module  # it is the last section


@pytest.mark.parametrize(
    ("text", "pages", "shown"),
    [
        ("", 0, []),
        ("(memory 3)", 3, ["3 pages"]),
        ("(memory 3 7)", 3, ["3 to 7 pages"]),
        ("(memory 3 7 shared)", 3, ["3 to 7 pages, shared"]),
        ("(memory i64 3)", 3, ["3 pages, 64-bit"]),
        ('(import "a" "b" (memory 3)) (memory 4)', 7, ["3 pages", "4 pages"]),
    ],
)
def test_memory_is_reported_in_pages(text: str, pages: int, shown: list[str], tmp_path: Path) -> None:
    found = look(tmp_path, f"(module {text} {IDENTITY})")
    assert found.memory_pages == found.to_json()["memory_pages"] == pages
    assert list(map(str, found.memories)) == shown


def test_state_and_start_function_are_reported(tmp_path: Path) -> None:
    pure = look(tmp_path, f"(module {IDENTITY})")
    assert (pure.stateless, pure.start, pure.tables) == (True, False, 0)
    started = look(tmp_path, f"(module (func $s) (start $s) (table 1 funcref) {IDENTITY})")
    assert (started.stateless, started.start, started.tables) == (False, True, 1)
    assert not look(tmp_path, f"(module (global (mut i32) (i32.const 0)) {IDENTITY})").stateless
    assert look(tmp_path, f"(module (global i32 (i32.const 0)) {IDENTITY})").stateless


def test_a_module_with_the_imports_of_wasi_alone_is_compliant(tmp_path: Path) -> None:
    found = look(tmp_path, guests.CAT)
    assert (found.wasi_compliant, found.not_wasi, found.refused) == (True, (), None)
    assert len(found.imports) == 4


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ('"env" "log" (func (param i32))', "env.log"),
        (
            '"wasi_snapshot_preview1" "no_such_call" (func (param i32) (result i32))',
            "wasi_snapshot_preview1.no_such_call",
        ),
        ('"wasi_unstable" "proc_exit" (func (param i32))', "wasi_unstable.proc_exit"),
        ('"env" "memory" (memory 1)', "env.memory"),
    ],
)
def test_what_is_not_of_wasi_is_listed_and_cannot_be_served(wanted: str, name: str, tmp_path: Path) -> None:
    wasi = '(import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))'
    found = look(tmp_path, f"(module {wasi} (import {wanted}) {IDENTITY})")
    assert (found.wasi_compliant, found.not_wasi) == (False, (name,))
    assert found.refused is not None
    assert found.refused.startswith(f"it has imports that the host does not provide: {name}. ")
    assert "build the module without these imports" in found.refused


@pytest.mark.parametrize(
    ("wanted", "name", "types"),
    [
        (
            '"wasi_snapshot_preview1" "proc_exit" (func (param i64))',
            "proc_exit",
            "(i64) -> (); the host's is (i32) -> ()",
        ),
        (
            '"wasi_snapshot_preview1" "proc_exit" (memory 1)',
            "proc_exit",
            "a memory of type 1 page; the host's is a func",
        ),
        ('"env" "abort" (func)', "abort", "() -> (); the host's is (i32, i32, i32, i32) -> ()"),
    ],
)
def test_an_import_of_a_different_type_is_reported_with_both_types(
    wanted: str, name: str, types: str, tmp_path: Path
) -> None:
    found = look(tmp_path, f"(module (import {wanted}) {IDENTITY})")
    assert found.not_wasi[0].endswith(f".{name}")
    assert found.refused is not None
    assert found.refused.startswith(f"it imports {found.not_wasi[0]} as {types}")
    assert "does not provide" not in found.refused


def test_the_abort_of_assemblyscript_is_not_of_wasi_but_can_be_served(tmp_path: Path) -> None:
    found = look(tmp_path, f'(module (import "env" "abort" (func (param i32 i32 i32 i32))) {IDENTITY})')
    assert (found.wasi_compliant, found.not_wasi, found.refused) == (False, ("env.abort",), None)


@pytest.mark.parametrize("feature", FEATURES)
def test_what_the_sandbox_refuses_is_what_does_not_load(feature: str, tmp_path: Path) -> None:
    used, unused = FEATURES[feature]
    for text in (used, unused):
        found = look(tmp_path, f"(module {IDENTITY} {text})", entry="f", convention="elementwise")
        assert found.interface is not None
        loads = True
        try:
            Program.load(tmp_path / "module.wasm", interface=found.interface, cache=None).close()
        except WasmError:
            loads = False
        assert loads == (found.refused is None), found.refused


def test_a_refusal_says_what_the_sandbox_leaves_out(tmp_path: Path) -> None:
    refused = look(tmp_path, f"(module (memory 1 2 shared) {IDENTITY})").refused
    assert refused is not None
    assert refused.startswith(
        "it uses the WebAssembly proposal threads, which the sandbox disables (a shared memory): build"
    )


@pytest.mark.parametrize("example", [*EXAMPLES.values(), ECHO], ids=lambda example: example.name)
def test_the_examples_can_be_served_as_they_are(example: Example) -> None:
    found = inspect_module(example.module)
    assert found.interface is not None
    assert (found.invalid, found.refused, found.no_interface) == (None, None, None)
    assert found.wasi_compliant
    with Program.load(example.module, cache=None) as program:
        assert program.interface == found.interface


def test_convention_and_its_source_are_reported(tmp_path: Path) -> None:
    reports = {name: inspect_module(example.module).to_json() for name, example in (*EXAMPLES.items(), ("echo", ECHO))}
    assert {name: (each["interface"]["convention"], each["interface_source"]) for name, each in reports.items()} == {
        "gelu": ("elementwise", "section"),
        "softmax": ("gufunc", "section"),
        "image_preprocess": ("dlpack", "section"),
        "wordpiece": ("dlpack", "section"),
        "nms": ("dlpack", "section"),
        "text_filter": ("command", "exports"),
        "echo": ("dlpack", "section"),
    }
    assert look(tmp_path, guests.ADD).to_json()["interface_source"] == "exports"
    assert look(tmp_path, guests.ADD, entry="add").to_json()["interface_source"] == "explicit"


def test_the_interface_found_from_the_exports_is_exact(tmp_path: Path) -> None:
    assert look(tmp_path, guests.ADD).to_json()["interface"] == {
        "abi": 1,
        "entry": "add",
        "convention": "elementwise",
        "max_batch_size": 64,
        "inputs": [{"name": name, "dtype": "FP32", "dims": [-1]} for name in ("a", "b")],
        "outputs": [{"name": "y", "dtype": "FP32", "dims": [-1]}],
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (guests.DOUBLE, "'double'(i32, i32, i32) -> () does not take and return numbers, so its interface cannot"),
        (guests.SUM, "'sum'(i32, i32) -> (f32) may take pointers, so its interface cannot be derived. Write it into"),
        (f"(module {guests.PRELUDE})", "is a dlpack guest that does not declare its tensors: write them into the"),
    ],
)
def test_where_no_interface_is_found_it_says_what_to_declare(text: str, why: str, tmp_path: Path) -> None:
    found = look(tmp_path, text)
    assert found.interface is None
    assert found.no_interface is not None
    assert found.no_interface.startswith(str(tmp_path / "module.wasm"))
    assert why in found.no_interface
    assert "'portalis annotate'" in found.no_interface


@pytest.mark.parametrize(
    ("producers", "how"),
    [
        ("", 'in C __attribute__((export_name("NAME"))) or -Wl,--export=NAME, in Rust #[no_mangle]'),
        ("\\01\\08language\\01\\04Rust\\00", '#[no_mangle] pub extern "C" fn in a library of crate-type cdylib'),
        ("\\01\\08language\\01\\03C11\\00", '__attribute__((export_name("NAME")))'),
        ("\\01\\08language\\01\\0eC_plus_plus_14\\00", 'extern "C" __attribute__((export_name("NAME")))'),
        ("\\01\\0cprocessed-by\\01\\06TinyGo\\040.31", "//go:wasmexport NAME above the function"),
    ],
)
def test_without_an_exported_function_it_says_how_to_export_one(producers: str, how: str, tmp_path: Path) -> None:
    section = f'(@custom "producers" "{producers}")' if producers else ""
    for text in (f"(module {section})", f'(module {section} (memory (export "memory") 1) (func (export "malloc")))'):
        reason = look(tmp_path, text).no_interface
        assert reason is not None
        assert f"exports no function that could be the entry: export the function to call ({how}" in reason
        assert "annotate" not in reason
        assert "--entry" not in reason


def test_of_several_functions_one_is_chosen_by_an_option_that_there_is(tmp_path: Path) -> None:
    reason = look(tmp_path, f'(module {IDENTITY} (export "g" (func 0)))').no_interface
    assert reason is not None
    assert "exports 2 functions that could be the entry: choose one with --entry. Its exports are: f(f32)" in reason


def test_a_gufunc_whose_arguments_are_not_the_parameters_has_no_interface(tmp_path: Path) -> None:
    path = tmp_path / "module.wasm"
    described = {"entry": "double", "convention": "gufunc", "signature": "(m,n)->(m)"}
    tensors = {"inputs": [guests.tensor("x", dims=(-1, -1))], "outputs": [guests.tensor("y")]}
    path.write_bytes(guests.wasm(guests.DOUBLE, {**described, **tensors}))
    found = inspect_module(path)
    assert found.interface is None
    assert found.no_interface == (
        f"{path}: entry 'double' has 3 parameters, but its arguments are x, y, m, n:"
        " declare them with 'portalis annotate --args' to say what each parameter is"
    )


@pytest.mark.parametrize(("parameters", "fits"), [(15, True), (16, False)])
def test_an_elementwise_entry_has_at_most_sixteen_numbers(parameters: int, fits: bool, tmp_path: Path) -> None:
    found = look(tmp_path, f'(module (func (export "f") (param {"f32 " * parameters}) (result f32) (local.get 0)))')
    assert (found.interface is not None) == fits
    if fits:
        Program.load(tmp_path / "module.wasm", cache=None).close()
        return
    with pytest.raises(WasmError, match="at most 16"):
        Program.load(tmp_path / "module.wasm", cache=None)
    assert found.no_interface is not None
    assert "entry 'f' has 17 parameters and results: an elementwise entry has at most 16" in found.no_interface


@pytest.mark.parametrize("memory", ["(memory 1)", '(memory (export "mem") 1)', '(memory 1) (func (export "memory"))'])
def test_an_entry_that_takes_pointers_needs_a_memory_to_put_tensors_in(memory: str, tmp_path: Path) -> None:
    text = guests.DOUBLE.replace('(memory (export "memory") 1)', memory)
    tensors = {"inputs": [guests.tensor("x")], "outputs": [guests.tensor("y")]}
    declared = {"convention": "gufunc", "signature": "(n)->(n)", "entry": "double", **tensors}
    found = look(tmp_path, text, **declared)
    assert found.no_interface is not None
    assert "but no memory is exported as 'memory' for the tensors: export it" in found.no_interface
    with pytest.raises(WasmError, match="memory"):
        Program.load(tmp_path / "module.wasm", interface=declared, cache=None)


def test_a_memory_of_another_name_is_named(tmp_path: Path) -> None:
    text = guests.DOUBLE.replace('(memory (export "memory") 1)', '(memory (export "mem") 1)')
    tensors = {"inputs": [guests.tensor("x")], "outputs": [guests.tensor("y")]}
    found = look(tmp_path, text, convention="gufunc", signature="(n)->(n)", entry="double", **tensors)
    assert found.no_interface is not None
    assert found.no_interface.endswith(
        "no memory is exported as 'memory' for the tensors: export it by that name, too (it is exported as 'mem')"
    )


def test_imports_of_wasm_bindgen_are_reported_with_an_alternative(tmp_path: Path) -> None:
    refused = look(tmp_path, f'(module (import "wbg" "__wbindgen_throw" (func (param i32 i32))) {IDENTITY})').refused
    assert refused is not None
    assert "it has imports that the host does not provide: wbg.__wbindgen_throw." in refused
    assert "functions of wasm-bindgen require its JavaScript, plain #[no_mangle] extern" in refused


def test_invalid_code_in_a_module_with_valid_sections_is_reported_and_not_raised(tmp_path: Path) -> None:
    path = tmp_path / "invalid.wasm"
    good = bytes(wasmtime.wat2wasm(f"(module {IDENTITY})"))
    path.write_bytes(good.replace(b"\x20\x00\x0b", b"\x20\x07\x0b"))  # local.get of a local that does not exist
    found = inspect_module(path)
    assert found.invalid is not None
    assert "unknown local 7" in found.invalid
    assert "\n" not in found.invalid
    assert (found.features, found.refused) == ((), None)
    report = found.to_json()
    assert (report["valid"], report["invalid"]) == (False, found.invalid)


def test_json_holds_every_fact_and_survives_a_round_trip(tmp_path: Path) -> None:
    found = look(tmp_path, guests.CAT)
    report = found.to_json()
    assert json.loads(json.dumps(report)) == report
    # the memory is reported in pages, and the interface with where it comes from; threads are among the features
    renamed = {"start": "start_function", "search": "features", "unloadable": "problems"}
    fields = {renamed.get(name, name) for name in Inspection.__slots__} - {"uses_threads"}
    assert fields | {"valid", "refused", "wasi_compliant", "memory_pages", "interface_source", "engine"} == set(report)


def test_it_says_which_engine_a_module_gets_in_triton_and_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    native = {"name": "native", "why": "on Linux (aarch64, x86_64); python elsewhere, or where wasm.engine is python"}
    assert look(tmp_path, guests.ADD).to_json()["engine"] == native
    command = {"name": "python", "why": "the native executor does not run commands"}
    assert look(tmp_path, guests.CAT).to_json()["engine"] == command
    refused = '(module (memory (export "memory") 5000) (func (export "f") (param f32) (result f32) (local.get 0)))'
    for text in (refused, '(module (func (export "f") (param i64) (result i64) (local.get 0)) (func (export "g")))'):
        found = look(tmp_path, text)
        assert found.unservable_reason("inspect") is not None
        assert found.to_json()["engine"] is None
    monkeypatch.setattr(wasm_backend, "machines", list)
    bare = {"name": "python", "why": "this portalis was installed without the native libraries"}
    assert look(tmp_path, guests.ADD).to_json()["engine"] == bare


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty, not a WebAssembly module"),
        (b"hello there", "is not a WebAssembly module: it is text that begins with 'hello there'"),
        (b"(module)", "is not a WebAssembly module: it is WebAssembly text: convert it with wat2wasm"),
        (b"\0asm\x0d\0\x01\0", "is a WebAssembly component; a core module is needed"),
        (b"\0asm", "is not a whole WebAssembly module: it ends after 4 bytes"),
        (b"\x7fELF\2\1\1", "it is a native program or library (ELF)"),
        (b"\0asm\1\0\0\0\1", "is not a whole WebAssembly module: "),
    ],
)
def test_a_file_that_is_no_module_is_refused_by_name(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "file.wasm"
    path.write_bytes(data)
    with pytest.raises(ModuleError) as caught:
        inspect_module(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_module_cut_anywhere_but_between_sections_is_refused(tmp_path: Path) -> None:
    path, whole = tmp_path / "cut.wasm", bytes(wasmtime.wat2wasm(guests.ADD))
    sizes = [len(section) for _, section in sections(whole)]
    between = [8 + sum(sizes[:count]) for count in range(len(sizes) + 1)]
    for size in range(1, len(whole)):
        path.write_bytes(whole[:size])
        if size in between:
            assert inspect_module(path).size_bytes == size
            continue
        with pytest.raises(ModuleError, match=r"cut\.wasm"):
            inspect_module(path)


def test_no_descriptor_and_no_mapping_is_left(tmp_path: Path) -> None:
    path = tmp_path / "module.wasm"
    path.write_bytes(guests.wasm(guests.ADD))
    assert inspect_module(path).features == ()
    opened_files = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile, as that of the directory itself is
            opened_files.append(str(link.readlink()))
    assert str(path) not in opened_files
    assert str(path) not in Path("/proc/self/maps").read_text()
