"""Types of the host functions, and checks of a module's imports against them.

The types of WASI preview 1 are those of its ``witx`` files, as linked by wasmtime (a test compares them).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..messages import quoted_name
from .sections import FuncType, Import

WASI = "wasi_snapshot_preview1"
ABORT = ("env", "abort")  # AssemblyScript's
_TYPES = (
    f"build it with the types of {WASI} and of AssemblyScript's abort (Emscripten: -sSTANDALONE_WASM; or define the"
    " function in the module)"
)
_GLUE = ("wbg", "__wbindgen_placeholder__")
_BINDGEN = (
    "build the module without these imports: functions of wasm-bindgen require its JavaScript, plain"
    ' #[no_mangle] extern "C" functions do not'
)
MAX_LISTED = 50
"""Maximum number of imports in a message."""
# i is i32 and I is i64; every function except proc_exit returns an errno, an i32
_PARAMETERS = """
args_get ii  args_sizes_get ii  clock_res_get ii  clock_time_get iIi  environ_get ii  environ_sizes_get ii
fd_advise iIIi  fd_allocate iII  fd_close i  fd_datasync i  fd_fdstat_get ii  fd_fdstat_set_flags ii
fd_fdstat_set_rights iII  fd_filestat_get ii  fd_filestat_set_size iI  fd_filestat_set_times iIIi  fd_pread iiiIi
fd_prestat_dir_name iii  fd_prestat_get ii  fd_pwrite iiiIi  fd_read iiii  fd_readdir iiiIi  fd_renumber ii
fd_seek iIii  fd_sync i  fd_tell ii  fd_write iiii  path_create_directory iii  path_filestat_get iiiii
path_filestat_set_times iiiiIIi  path_link iiiiiii  path_open iiiiiIIii  path_readlink iiiiii
path_remove_directory iii  path_rename iiiiii  path_symlink iiiii  path_unlink_file iii  poll_oneoff iiii
proc_exit i  proc_raise i  random_get ii  sched_yield -  sock_accept iii  sock_recv iiiiii  sock_send iiiii
sock_shutdown ii
"""


def _functions() -> dict[tuple[str, str], FuncType]:
    words, types = _PARAMETERS.split(), {"i": "i32", "I": "i64"}
    found = {ABORT: FuncType(("i32",) * 4, ())}
    for name, letters in zip(words[::2], words[1::2]):
        results = () if name == "proc_exit" else ("i32",)
        found[WASI, name] = FuncType(tuple(types[letter] for letter in letters.strip("-")), results)
    return found


HOST_FUNCTIONS = _functions()
"""The host's functions by (module, name)."""


def provides(item: Import) -> bool:
    """Whether the host provides an import, with the same kind and type."""
    return item.kind == "func" and HOST_FUNCTIONS.get((item.module, item.name)) == item.type


def unprovided_imports(imports: Sequence[Import]) -> Iterator[tuple[str, str]]:
    """Problems of `imports` that the host does not provide: sentences about "it", the module, with the remediation."""
    missing = []
    for item in imports:
        host = HOST_FUNCTIONS.get((item.module, item.name))
        if host is None:
            missing.append(f"{quoted_name(item.module)}.{quoted_name(item.name)}")
        elif not provides(item):
            if item.kind == "func":
                found, own = str(item.type), str(host)
            else:
                of = f" of type {item.type}" if item.type is not None else ""
                found, own = f"a {item.kind}{of}", f"a function {host}"
            yield f"it imports {item.module}.{item.name} as {found}; the host's is {own}", _TYPES
    if missing:
        more = f" and {len(missing) - MAX_LISTED} more" if len(missing) > MAX_LISTED else ""
        names = ", ".join(missing[:MAX_LISTED]) + more
        provided = f"The host provides only the functions of {WASI} and {'.'.join(ABORT)}"
        advice = _BINDGEN if any(item.module in _GLUE for item in imports) else "build the module without these imports"
        yield f"it has imports that the host does not provide: {names}. {provided}", advice
