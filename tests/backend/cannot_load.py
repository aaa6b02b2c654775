"""Modules that no tool may call good: each has one reason for which it cannot be loaded with the default settings."""

from __future__ import annotations

from dataclasses import dataclass, field

import wasmtime

from portalis.backend.wasm import assembler as emit

from . import guests

F = '(func (export "f") (param f32) (result f32) (local.get 0))'
KERNEL = '(func (export "k") (param i32 i32 i32))'
GUFUNC: dict[str, object] = {
    "entry": "k",
    "convention": "gufunc",
    "signature": "(n)->(n)",
    "inputs": [guests.tensor("x")],
    "outputs": [guests.tensor("y")],
}


@dataclass(frozen=True)
class Bad:
    """A module with its error message, the kind of the problem, and the limit that a setting could raise."""

    module: bytes
    message: str
    kind: str
    limit: str = ""
    names: tuple[str, ...] = field(default=())


def wat(text: str, entry: dict[str, object] | None = None) -> bytes:
    """The module in `text`, described by `entry`."""
    return guests.wasm(f"(module {text})", *([entry] if entry else []))


def with_body(body: bytes) -> bytes:
    """A module with the export f of one number, and a second function of these bytes."""
    plain = bytes(wasmtime.wat2wasm(f"(module {F} (func unreachable))"))
    old = emit.unsigned(3) + b"\0\x00\x0b"
    assert plain.count(old) == 1
    size = emit.unsigned(len(body)) + body
    code = plain.index(b"\x0a", plain.index(b"\x01f"))
    head, section = plain[:code], plain[code:]
    length = section[1]
    return head + emit.section(10, section[2 : 2 + length].replace(old, size)) + section[2 + length :]


BAD: dict[str, Bad] = {
    # imports: types, kinds, names
    "abort without parameters": Bad(
        wat(f'(import "env" "abort" (func)) {F}'),
        "it imports env.abort as () -> (); the host's is (i32, i32, i32, i32) -> ()",
        "import",
    ),
    "abort that is a global": Bad(
        wat(f'(import "env" "abort" (global i32)) {F}'),
        "it imports env.abort as a global of type i32; the host's is a function (i32, i32, i32, i32) -> ()",
        "import",
    ),
    "abort that is a table": Bad(
        wat(f'(import "env" "abort" (table 1 funcref)) {F}'), "it imports env.abort as a table;", "import"
    ),
    "fd_write of one parameter": Bad(
        wat(f'(import "wasi_snapshot_preview1" "fd_write" (func (param i32) (result i32))) {F}'),
        "it imports wasi_snapshot_preview1.fd_write as (i32) -> (i32); the host's is (i32, i32, i32, i32) -> (i32)",
        "import",
    ),
    "proc_exit that returns": Bad(
        wat(f'(import "wasi_snapshot_preview1" "proc_exit" (func (param i32) (result i32))) {F}'),
        "it imports wasi_snapshot_preview1.proc_exit as (i32) -> (i32); the host's is (i32) -> ()",
        "import",
    ),
    "a memory of the host": Bad(
        wat(f'(import "env" "memory" (memory 1)) {F}'),
        "it has imports that the host does not provide: env.memory",
        "import",
    ),
    "functions of others": Bad(
        wat(f'(import "a" "b" (func)) (import "c" "d" (table 1 funcref)) {F}'),
        "it has imports that the host does not provide: a.b, c.d. The host provides only the functions of wasi_snapshot_preview1",
        "import",
    ),
    # memory and tables
    "a first memory above the limit": Bad(
        wat(f'(memory (export "memory") 5000) {F}'),
        "its memory begins with 5000 pages of 64 KiB (327680000 bytes), more than the limit of 268435456 bytes",
        "memory",
        "max_memory_bytes",
    ),
    "all of wasm32": Bad(
        wat(f'(memory (export "memory") 65536) {F}'),
        "(4294967296 bytes), more than the limit",
        "memory",
        "max_memory_bytes",
    ),
    "one page more than the limit": Bad(
        wat(f"(memory 4097) {F}"), "begins with 4097 pages", "memory", "max_memory_bytes"
    ),
    "a second memory above the limit": Bad(
        wat(f"(memory 1) (memory 5000) {F}"), "begins with 5000 pages", "memory", "max_memory_bytes"
    ),
    "three memories": Bad(
        wat(f"(memory 1) (memory 1) (memory 1) {F}"), "it has 3 memories; the sandbox allows 2", "memory"
    ),
    "five tables": Bad(wat(f"{'(table 1 funcref) ' * 5} {F}"), "it has 5 tables; the sandbox allows 4", "table"),
    "a long table": Bad(
        wat(f"(table 100001 funcref) {F}"),
        "it has 100001 elements in a table; the sandbox allows 100000",
        "table",
    ),
    # what would trap in every instance
    "data behind its memory": Bad(
        wat(f'(memory 1) (data (i32.const 65530) "0123456789") {F}'),
        "its data segment 0 extends from 65530 to 65540, but its memory begins with 65536 bytes",
        "segment",
    ),
    "data at a negative place": Bad(
        wat(f'(memory 1) (data (i32.const -1) "0") {F}'), "its data segment 0 extends from 4294967295", "segment"
    ),
    "data in a memory of no page": Bad(wat(f'(memory 0) (data (i32.const 0) "0") {F}'), "data segment 0", "segment"),
    "elements behind their table": Bad(
        wat(f"(table 2 funcref) (elem (i32.const 1) $g $g) (func $g) {F}"),
        "its element segment 0 extends from 1 to 3, but its table begins with 2 elements",
        "segment",
    ),
    "elements of the second table": Bad(
        wat(f"(table 9 funcref) (table $t 1 funcref) (elem (table $t) (i32.const 1) func $g) (func $g) {F}"),
        "its element segment 0 extends from 1 to 2",
        "segment",
    ),
    # what the convention needs
    "a kernel that grows its memory": Bad(
        wat(f'(memory (export "memory") 1) {KERNEL} (func (export "grow") (drop (memory.grow (i32.const 1))))', GUFUNC),
        "it takes pointers and grows its memory itself, so the host cannot determine which part is free",
        "allocator",
    ),
    "a kernel with malloc alone": Bad(
        wat(
            f"""(memory (export "memory") 1) {KERNEL}
            (func (export "malloc") (param i32) (result i32) (memory.grow (i32.const 1)))""",
            GUFUNC,
        ),
        "it takes pointers and grows its memory itself",
        "allocator",
    ),
    "a reactor that is a command, too": Bad(
        wat(
            f'(func (export "_initialize")) (func (export "_start")) {F}',
            {
                "entry": "f",
                "convention": "elementwise",
                "inputs": [guests.tensor("x")],
                "outputs": [guests.tensor("y")],
            },
        ),
        "it exports '_initialize' and '_start', so it is neither a reactor nor a command of WASI",
        "start",
    ),
    # proposals
    "exceptions": Bad(
        wat(
            f"(tag $t (param f32)) {F} (func (param f32) (result f32) (block $h (result f32)"
            " (try_table (catch $t $h) (throw $t (local.get 0))) (f32.const 0)))"
        ),
        "it uses the WebAssembly proposal exception handling, which the sandbox disables",
        "proposal",
        names=("-fno-exceptions", "-fno-wasm-exceptions"),
    ),
    "an exnref": Bad(
        wat(f"{F} (func (param exnref))"), "the WebAssembly proposal exception handling,", "proposal", names=("-fno-",)
    ),
    "legacy exceptions": Bad(
        with_body(b"\0\x06\x40\x19\x0b\x0b"),
        "it uses the WebAssembly proposal legacy exception handling, which the sandbox disables",
        "proposal",
        names=("-fno-wasm-exceptions",),
    ),
    "a shared memory": Bad(
        wat(f"(memory 1 2 shared) {F}"), "the WebAssembly proposal threads, which", "proposal", names=("-pthread",)
    ),
    "an atomic instruction": Bad(
        wat(f"(memory 1) {F} (func (drop (i32.atomic.load (i32.const 0))))"),
        "the WebAssembly proposal threads, which",
        "proposal",
        names=("-pthread",),
    ),
    "a 64-bit memory": Bad(
        wat(f"(memory i64 1) {F}"), "the WebAssembly proposal memory64", "proposal", names=("wasm32",)
    ),
    "a 64-bit table": Bad(
        wat(f"(table i64 1 funcref) {F}"), "the WebAssembly proposal memory64", "proposal", names=("wasm32",)
    ),
    "pages of one byte": Bad(
        wat(f"(memory 100 (pagesize 1)) {F}"),
        "the WebAssembly proposal custom page sizes",
        "proposal",
        names=("64 KiB",),
    ),
    "typed references": Bad(
        wat(f"(type $t (func)) {F} (func (param (ref null $t)))"), "typed function references", "proposal"
    ),
    "i31 in code": Bad(
        wat(f"{F} (func (drop (ref.i31 (i32.const 0))))"),
        "the WebAssembly proposal garbage collection (GC)",
        "proposal",
    ),
    "memory control": Bad(
        wat(f"(memory 1) {F} (func (memory.discard (i32.const 0) (i32.const 1)))"),
        "the WebAssembly proposal memory control",
        "proposal",
    ),
}

NO_MODULE: dict[str, tuple[bytes, str]] = {
    "a struct type": (
        bytes(wasmtime.wat2wasm(f"(module (type (struct)) {F})")),
        "it uses the WebAssembly proposal garbage collection (GC), which the sandbox disables",
    ),
    "a recursive group": (
        bytes(wasmtime.wat2wasm(f"(module (rec (type (func)) (type (func))) {F})")),
        "it uses the WebAssembly proposal garbage collection (GC), which the sandbox disables",
    ),
    "a continuation": (
        bytes(wasmtime.wat2wasm(f"(module (type $f (func)) (type (cont $f)) {F})")),
        "it uses the WebAssembly proposal stack switching, which the sandbox disables",
    ),
    "a shared function": (
        bytes(wasmtime.wat2wasm(f"(module (type (shared (func))) {F})")),
        "it uses the WebAssembly proposal shared-everything threads, which the sandbox disables",
    ),
}
"""Modules whose metadata cannot be read at all without a proposal."""
