"""Every error that loading or running a WebAssembly module can end in, as one tree of exceptions.

The message of each is complete for a user: what failed, where, and what to do about it. Nothing else is
raised on purpose by this package, so a server may answer with ``str(error)`` and keep serving.
"""

from __future__ import annotations

from .messages import bounded_message


class WasmError(Exception):
    """Base of all errors of this package; ``str(error)`` is the text for the user.

    Whatever a guest put into it, that text has a few KiB at most and no control characters but newlines.
    """

    def __str__(self) -> str:
        return bounded_message(super().__str__())


class ModuleError(WasmError):
    """The file is not a module that can be loaded: not WebAssembly, truncated, too large, or with imports
    that nobody provides."""


class InterfaceError(WasmError):
    """The module's entry, convention, inputs or outputs cannot be derived, or were declared wrongly."""


class SettingsError(WasmError):
    """A setting is unknown or has a value outside its choices."""


class InputError(WasmError):
    """The caller's tensors do not fit the interface: missing, unknown, wrong dtype, rank or shape."""


class Cancelled(WasmError):
    """The request was cancelled or had expired before it was run."""


class HostBusy(WasmError):
    """This host has no room for another instance, or no thread to run it on. No fault of the module: the same request
    may succeed later."""


class InternalError(WasmError):
    """A bug of this package met the request; the log has the traceback."""


class GuestError(WasmError):
    """The guest failed while it ran. The instance that it ran in is dropped."""


class Trap(GuestError):
    """The guest trapped; the message carries the WebAssembly backtrace."""


class GuestTimeout(GuestError):
    """The guest ran longer than its deadline and was interrupted."""


class MemoryLimit(GuestError):
    """The tensors or the guest's own allocations do not fit into the memory limit."""


class AbiViolation(GuestError):
    """The guest broke the call convention: a pointer outside memory, a false shape, a wrong dtype."""


class GuestStatus(GuestError):
    """The guest returned a non-zero status; the message carries its own text where it gave one."""
