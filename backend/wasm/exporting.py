"""How a function is exported from a module, in the language that the module says it was written in."""

from __future__ import annotations

from .binary import ModuleInfo
from .producers import of_module

# By words in the language's and the tools' names, lower case; the first that is found counts.
_HOW = (
    (("rust", "rustc"), '#[no_mangle] pub extern "C" fn in a library of crate-type cdylib'),
    (("zig",), "export fn, and -rdynamic or --export=NAME for the linker"),
    (("tinygo", "go"), "//go:wasmexport NAME above the function (TinyGo also takes //export NAME)"),
    (("assemblyscript",), "export function, in the entry file"),
    (("swift",), '@_expose(wasm, "NAME") before the function'),
    (("c++", "c_plus_plus"), 'extern "C" __attribute__((export_name("NAME")))'),
    (("c", "clang"), '__attribute__((export_name("NAME")))'),
)
_ANY = (
    'in C __attribute__((export_name("NAME"))) or -Wl,--export=NAME, in Rust #[no_mangle] pub extern "C" fn of a'
    " cdylib, in Go //go:wasmexport NAME, in AssemblyScript export function"
)


def how(info: ModuleInfo) -> str:
    """How to export a function in the language of the module, as far as its ``producers`` section tells it."""
    words = {word for made in of_module(info) for word in made.name.lower().replace("/", " ").split()}
    # "C11", "C_plus_plus_14" and the like carry the year of their standard
    words |= {word.rstrip("0123456789").rstrip("_") for word in words}
    found = next((text for names, text in _HOW if words & set(names)), _ANY)
    return f"export the function that is to be called ({found})"
