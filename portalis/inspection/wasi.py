"""Whether a module's imports are those of WASI preview 1."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import wasmtime

from ..backend.binary import FuncType, Import

WASI = "wasi_snapshot_preview1"
ABORT = "env.abort"  # AssemblyScript's; not of WASI, but the host provides it


def not_of_wasi(imports: Iterable[Import]) -> tuple[str, ...]:
    """The imports, as ``module.name``, that are no functions of WASI, or have other types there."""
    return tuple(f"{i.module}.{i.name}" for i in imports if not _is_wasi(i))


def not_provided(not_wasi: Iterable[str]) -> str | None:
    """Why the sandbox does not load a module with these imports beside those of WASI, or None."""
    missing = [name for name in not_wasi if name != ABORT]
    if not missing:
        return None
    return (
        f"it imports what the host does not provide: {', '.join(missing)}. Provided are the functions of {WASI} and"
        f" {ABORT}; build the module without the others"
    )


def _is_wasi(wanted: Import) -> bool:
    return wanted.module == WASI and wanted.type is not None and wanted.type == _wasi_functions().get(wanted.name)


@functools.cache
def _wasi_functions() -> dict[str, FuncType]:
    """The functions of WASI preview 1 that wasmtime knows, found by asking its linker."""
    engine = wasmtime.Engine()
    linker, store = wasmtime.Linker(engine), wasmtime.Store(engine)
    linker.define_wasi()
    found = {}
    for name in _PREVIEW_1.split():
        try:
            function = linker.get(store, WASI, name)
        except (KeyError, wasmtime.WasmtimeError):
            continue
        assert isinstance(function, wasmtime.Func)
        kind = function.type(store)
        found[name] = FuncType(tuple(map(str, kind.params)), tuple(map(str, kind.results)))
    return found


_PREVIEW_1 = """
args_get args_sizes_get clock_res_get clock_time_get environ_get environ_sizes_get fd_advise fd_allocate fd_close
fd_datasync fd_fdstat_get fd_fdstat_set_flags fd_fdstat_set_rights fd_filestat_get fd_filestat_set_size
fd_filestat_set_times fd_pread fd_prestat_dir_name fd_prestat_get fd_pwrite fd_read fd_readdir fd_renumber fd_seek
fd_sync fd_tell fd_write path_create_directory path_filestat_get path_filestat_set_times path_link path_open
path_readlink path_remove_directory path_rename path_symlink path_unlink_file poll_oneoff proc_exit proc_raise
random_get sched_yield sock_accept sock_recv sock_send sock_shutdown
"""
