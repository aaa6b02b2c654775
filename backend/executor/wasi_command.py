"""Runs the ``command`` convention: a WASI command, instantiated for each row; BYTES in, BYTES and exit code out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import wasmtime

from ..batch.bytes_tensor import encode_element, object_array
from ..batch.coalesce import Pieces, join_pieces
from ..batch.request_checks import check_rows
from ..errors import GuestError, InputError
from ..interface.interface import Interface
from ..setting_names import SettingNames
from .executor import Deadline, Executor
from .host_state import HostState
from .instance_limit import start_instance
from .store import LinkedModules, Store
from .threads import GuestThreads

Row = tuple[bytes, bytes, int]
RunRow = Callable[[bytes, Sequence[str], float], Row]
"""Runs the command once: (stdin, arguments, seconds) → (stdout, stderr, exit code). Raises GuestError."""


@dataclass(frozen=True)
class CommandExecutor(Executor):
    """The executor of a WASI command."""

    interface: Interface
    run_row: RunRow
    workers: GuestThreads
    max_bytes: int  # of the output of all rows of a request
    setting_names: SettingNames

    def run(self, inputs: Sequence[Pieces | None], deadline: Deadline, borrow: bool = False) -> list[np.ndarray]:
        """Run the command once per element of stdin (BYTES; args has one more dimension, the arguments).

        Each row has the full time of `deadline`. Returns stdout, stderr (BYTES) and exit_code (INT32), each of stdin's
        shape. The first row that traps or exceeds its time limit raises; an exit code is a result.
        """
        arrays = join_pieces(inputs)
        check_rows(self.interface, arrays)
        by_name = dict(zip((spec.name for spec in self.interface.inputs), arrays))
        stdin, args = by_name["stdin"], by_name.get("args")
        assert stdin is not None, "it is not optional"
        rows = [encode_element(x, "input 'stdin'") for x in stdin.reshape(-1).tolist()]
        argv = [[] for _ in rows] if args is None else args.reshape((len(rows), -1)).tolist() if rows else []
        texts = [[_argument(a) for a in row] for row in argv]
        lock, written = threading.Lock(), 0

        def run_row(job: tuple[bytes, list[str]]) -> Row:
            nonlocal written
            result = self.run_row(*job, deadline.timeout_s)
            with lock:  # rows can run in parallel
                written += len(result[0]) + len(result[1])
            if written > self.max_bytes:
                raise GuestError(
                    f"the rows wrote more than {self.max_bytes} bytes in total"
                    f" ({self.setting_names.raise_advice('max_tensor_bytes')}, or send fewer rows)"
                )
            return result

        results = self.workers.each(run_row, list(zip(rows, texts)))
        columns = {
            "stdout": object_array([r[0] for r in results], stdin.shape),
            "stderr": object_array([r[1] for r in results], stdin.shape),
            "exit_code": np.array([r[2] for r in results], np.int32).reshape(stdin.shape),
        }
        return [columns[spec.name] for spec in self.interface.outputs]


@dataclass(frozen=True)
class InProcessRunner:
    """Runs each row in this process, in a new instance."""

    entry: str
    linked: LinkedModules

    def __call__(self, stdin: bytes, args: Sequence[str], timeout_s: float) -> Row:
        """Run one row, as `RunRow`."""
        limits, setting_names = self.linked.limits, self.linked.setting_names
        state = HostState(limits.max_stdout_bytes, stdin, fails_past_cap=True)
        out, err = state.stdout, state.stderr
        try:
            self._run(state, [self.entry, *args], Deadline(timeout_s))
        except GuestError as error:
            if state.exit_code is None:
                stderr = err.data[-1000:].decode("utf-8", "backslashreplace").strip()
                raise type(error)(f"{error}\nstderr: {stderr}" if stderr else str(error)) from None
        if out.dropped + err.dropped:
            raise GuestError(
                f"the command wrote more than {limits.max_stdout_bytes} bytes to a stream"
                f" ({setting_names.raise_advice('max_stdout_bytes')}, or reduce its output)"
            )
        return bytes(out.data), bytes(err.data), state.exit_code or 0

    def _run(self, state: HostState, argv: list[str], deadline: Deadline) -> None:
        """Instantiate the command and call its entry."""

        def instantiate(store: Store) -> tuple[Store, wasmtime.Instance]:
            store.set_wasi_arguments(argv)
            return store, store.run(self.linked.guest.instantiate, store)

        store, instance = start_instance(self.linked, instantiate, state, deadline)
        with store:
            try:
                store.run(store.export(instance, self.entry), store)
            finally:
                memory = store.export(instance, "memory")
                if isinstance(memory, wasmtime.Memory):
                    self.linked.stats.observe_memory(memory.data_len(store))


def _argument(value: object) -> str:
    """One argument. wasmtime accepts only text, so bytes that are not UTF-8 cannot be passed. Raises InputError."""
    try:
        text = value.decode() if isinstance(value, bytes) else str(value)
        text.encode()
    except UnicodeError:
        raise InputError(f"input 'args' has an argument that is not UTF-8: {value!r:.80}") from None
    if "\0" in text:
        raise InputError("input 'args' has an argument with a NUL character, which cannot be passed to a command")
    return text
