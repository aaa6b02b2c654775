"""Exceptions of loading and running WebAssembly modules.

Each message is complete for a user: what failed, where, and the remediation. This package raises no other exceptions
intentionally, so a server can respond with ``str(error)`` and continue.
"""

from __future__ import annotations

from .messages import bounded_message


class WasmError(Exception):
    """Base of all errors of this package; ``str(error)`` is the message for the user.

    The message has at most a few KiB and no control characters except newlines, also if a guest contributed to it.
    """

    def __str__(self) -> str:
        return bounded_message(super().__str__())


class ModuleError(WasmError):
    """The file is not a loadable module: not WebAssembly, truncated, too large, or with imports that the host does not
    provide."""


class InterfaceError(WasmError):
    """The module's entry, convention, inputs or outputs cannot be derived, or their declaration is invalid."""


class SettingsError(WasmError):
    """A setting is unknown or has a value outside its choices."""


class InputError(WasmError):
    """The caller's tensors do not match the interface: missing, unknown, wrong dtype, rank or shape."""


class Cancelled(WasmError):
    """The request was cancelled or expired before it ran."""


class HostBusy(WasmError):
    """The host cannot create another instance, or a thread to run it. The same request can succeed later."""


class InternalError(WasmError):
    """A bug of this package; the log has the traceback."""


class GuestError(WasmError):
    """The guest failed while it ran. Its instance is closed."""


class Trap(GuestError):
    """The guest trapped; the message contains the WebAssembly backtrace."""


class GuestTimeout(GuestError):
    """The guest exceeded its deadline and was interrupted."""


class MemoryLimit(GuestError):
    """The tensors or the guest's own allocations exceed the memory limit."""


class AbiViolation(GuestError):
    """The guest violated the call convention: a pointer outside memory, a wrong shape or dtype."""


class GuestStatus(GuestError):
    """The guest returned a non-zero status; the message includes the guest's own, if any."""
