"""Features are the proposals that a module does not validate without, however few passes it took to find them."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import wasmtime
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wasmtime import _ffi as ffi

from portalis.backend import ModuleError
from portalis.examples.catalog import ECHO, EXAMPLES
from portalis.inspection import features as module_under_test
from portalis.inspection import inspect_module
from portalis.inspection.features import features
from portalis.inspection.validator import ALL, PROPOSALS, all_without, validation_error, with_bases
from tests.backend import guests

from .test_inspector import FEATURES

# Each proposal, and what must be switched off with it.
SWITCHES: dict[str, tuple[str, ...]] = {
    "simd": ("simd", "relaxed_simd"),
    "relaxed-simd": ("relaxed_simd",),
    "bulk-memory": ("bulk_memory",),
    "reference-types": ("reference_types", "function_references", "gc"),
    "function-references": ("function_references", "gc"),
    "multi-value": ("multi_value", "wide_arithmetic"),
    "tail-call": ("tail_call",),
    "threads": ("threads",),
    "multi-memory": ("multi_memory",),
    "memory64": ("memory64",),
    "exceptions": ("exceptions",),
    "gc": ("gc",),
    "wide-arithmetic": ("wide_arithmetic",),
}
# Uses of proposals that may stand together, in any order, behind BASE.
BASE = "(memory 1) (table 1 funcref) (func $f) (global $a i32 (i32.const 1))"
USES = (
    "(func (drop (v128.const i32x4 1 2 3 4)))",
    "(func (param v128))",
    "(func (param v128) (drop (i8x16.relaxed_swizzle (local.get 0) (local.get 0))))",
    "(func (drop (i32.atomic.load (i32.const 0))))",
    "(func (atomic.fence))",
    "(memory 1 2 shared)",
    "(memory i64 1)",
    "(table i64 1 funcref)",
    "(memory 1)",
    "(func (memory.fill (i32.const 0) (i32.const 0) (i32.const 1)))",
    "(func (table.copy (i32.const 0) (i32.const 0) (i32.const 0)))",
    "(elem func)",
    "(elem declare func $f) (func (drop (ref.func $f)))",
    "(func (drop (ref.null func)))",
    "(table 1 externref)",
    "(func (param (ref null extern)))",
    "(func (param (ref $void)) (call_ref $void (local.get 0)))",
    "(table 2 2 funcref (ref.null func))",
    "(func (drop (ref.i31 (i32.const 1))))",
    "(type (struct))",
    "(global i32 (global.get $a))",
    "(func (result i32 i32) (i32.const 0) (i32.const 0))",
    "(func (param i64) (i64.mul_wide_u (local.get 0) (local.get 0)) drop drop)",
    "(func (return_call $f))",
    "(func (return_call_indirect (i32.const 0)))",
    "(tag (param i32))",
    "(func (try_table (catch_all 0)))",
    "(func (drop (ref.null exn)))",
    "(func (i32.store8 (i32.const 0) (i32.const 0)))",
    "(func (drop (select (result i32) (i32.const 0) (i32.const 0) (i32.const 0))))",
)
GUESTS = sorted(name for name, text in vars(guests).items() if isinstance(text, str) and text.startswith("(module"))


@functools.cache
def engine_without(off: tuple[str, ...]) -> wasmtime.Engine:
    config = wasmtime.Config()
    ffi.wasmtime_config_wasm_component_model_async_set(config.ptr(), False)
    for names in SWITCHES.values():
        for name in names:
            setattr(config, f"wasm_{name}", name not in off)
    return wasmtime.Engine(config)


def is_valid(module: bytes, off: tuple[str, ...] = ()) -> bool:
    try:
        wasmtime.Module.validate(engine_without(off), module)
    except wasmtime.WasmtimeError:
        return False
    return True


def by_definition(module: bytes) -> tuple[str, ...]:
    """One whole pass for each proposal."""
    return tuple(sorted(name for name, off in SWITCHES.items() if not is_valid(module, off)))


def found(module: bytes) -> tuple[str, ...]:
    return features(memoryview(module))


def test_every_set_of_proposals_that_may_be_tried_makes_an_engine() -> None:
    """wasmtime aborts the process where a set makes no sense."""
    tried = 0
    for size in range(len(ALL) + 1):
        for proposals in map(frozenset, itertools.combinations(PROPOSALS, size)):
            if with_bases(proposals) == proposals:
                validation_error(memoryview(b"\0asm\1\0\0\0"), proposals)
                tried += 1
    assert tried == 2304


def test_a_proposal_is_switched_off_with_what_is_built_upon_it() -> None:
    assert {name: {n.replace("_", "-") for n in off} for name, off in SWITCHES.items()} == {
        name: ALL - all_without(name) for name in PROPOSALS
    }


@pytest.mark.parametrize("path", [e.module for e in (*EXAMPLES.values(), ECHO)], ids=lambda path: path.stem)
def test_the_features_of_the_examples_are_those_of_the_definition(path: Path) -> None:
    assert inspect_module(path).features == found(path.read_bytes()) == by_definition(path.read_bytes())


@pytest.mark.parametrize("name", GUESTS)
def test_the_features_of_the_tests_guests_are_those_of_the_definition(name: str) -> None:
    module = guests.wasm(getattr(guests, name))
    assert found(module) == by_definition(module)


@pytest.mark.parametrize("text", [*USES, *(text for texts in FEATURES.values() for text in texts)])
def test_the_features_of_one_use_are_those_of_the_definition(text: str) -> None:
    module = guests.wasm(f"(module {BASE if text in USES else ''} (type $void (func)) {text})")
    assert is_valid(module)
    assert found(module) == by_definition(module)


def guess_nothing(why: str) -> str | None:
    return None


def guess_wrong(why: str) -> str | None:
    """Mostly another proposal than the message is about."""
    return sorted(PROPOSALS)[len(why) % len(PROPOSALS)]


@pytest.mark.parametrize("guess", [None, guess_nothing, guess_wrong], ids=["messages", "nothing", "wrong"])
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(uses=st.lists(st.sampled_from(USES), max_size=8))
def test_the_features_of_any_mixture_are_those_of_the_definition_whatever_the_messages_say(
    monkeypatch: pytest.MonkeyPatch, guess: Callable[[str], str | None] | None, uses: list[str]
) -> None:
    if guess is not None:
        monkeypatch.setattr(module_under_test, "_named", guess)
    module = guests.wasm(f"(module {BASE} (type $void (func)) {' '.join(uses)})")
    assert is_valid(module)
    assert found(module) == by_definition(module)


def test_one_whole_pass_is_enough_for_every_mixture_of_known_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    results: list[str | None] = []

    def counted(module: memoryview, proposals: frozenset[str] = ALL) -> str | None:
        results.append(validation_error(module, proposals))
        return results[-1]

    monkeypatch.setattr(module_under_test, "validation_error", counted)
    for text in (*USES, " ".join(USES)):
        results.clear()
        used = found(guests.wasm(f"(module {BASE} (type $void (func)) {text})"))
        assert results.count(None) == 1
        assert len(results) <= 2 * len(used) + 4


def test_features_are_of_the_contents_that_were_inspected_or_of_none(tmp_path: Path) -> None:
    path = tmp_path / "module.wasm"
    simd, plain = guests.wasm(f"(module {FEATURES['simd'][0]})"), guests.wasm(f"(module {FEATURES['simd'][1]})")
    path.write_bytes(simd)
    before, again = inspect_module(path), inspect_module(path)
    assert before == again
    assert before.uses_simd  # found now, and kept
    path.write_bytes(plain)
    assert before.features == ("simd",)
    with pytest.raises(ModuleError, match=r"module\.wasm has changed since it was inspected: inspect it again"):
        again.uses_simd  # noqa: B018
    path.unlink()
    with pytest.raises(ModuleError, match=r"module\.wasm cannot be read: No such file"):
        again.to_json()
    path.write_bytes(simd)  # other file, same contents
    assert again.features == ("simd",)


def test_features_are_found_from_any_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module.wasm").write_bytes(guests.wasm(f"(module {FEATURES['simd'][0]})"))
    monkeypatch.chdir(tmp_path)
    looked_at = inspect_module(Path("module.wasm"))
    monkeypatch.chdir(os.sep)
    assert looked_at.uses_simd


@pytest.mark.parametrize("text", [*USES, ""])
def test_threads_are_known_without_looking_for_features(text: str, tmp_path: Path) -> None:
    path = tmp_path / "module.wasm"
    path.write_bytes(guests.wasm(f"(module {BASE} (type $void (func)) {text})"))
    try:
        looked_at = inspect_module(path)
    except ModuleError:  # types of GC are not read
        return
    path.rename(tmp_path / "away.wasm")
    threads = looked_at.uses_threads
    (tmp_path / "away.wasm").rename(path)
    assert threads == ("threads" in looked_at.features)


def test_many_threads_find_what_one_finds(tmp_path: Path) -> None:
    paths = [example.module for example in (*EXAMPLES.values(), ECHO)]
    for number, text in enumerate(USES):
        paths.append(tmp_path / f"{number}.wasm")
        paths[-1].write_bytes(guests.wasm(f"(module {BASE} (type $void (func)) {text})"))

    def document(path: Path) -> object:
        try:
            return inspect_module(path).to_json()
        except ModuleError as error:
            return str(error)

    alone = [document(path) for path in paths]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            assert list(pool.map(document, paths)) == alone
        one = inspect_module(paths[0])
        assert len(set(pool.map(lambda _: one.features, range(16)))) == 1
