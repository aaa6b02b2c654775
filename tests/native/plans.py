"""Real plans for the stand-in for wasmtime, complete except for the machine code, which short placeholders replace.

``python -m tests.native.plans FOLDER`` writes them there, as seeds for the fuzzer of plans.
"""

from __future__ import annotations

import sys
from pathlib import Path

from portalis.backend.executor.core_library import struct_sizes
from portalis.backend.interface.discovery import discover
from portalis.backend.limits import Limits
from portalis.backend.plan import layout
from portalis.backend.plan.planner import Isolation, plan_entry
from portalis.backend.setting_names import TRITON_NAMES
from portalis.backend.wasm.binary import read_module
from tests.backend import guests
from tests.backend.guests import tensor

LIMITS = Limits(timeout_s=20.0, max_output_bytes=1000)
# INT8 has the stand-in's adapter act on the first byte of a row
ECHO = guests.dlpack(
    guests.ECHO_BODY, inputs=[tensor("x", "INT8", (24,))], outputs=[tensor("y", "INT8", (24,))], batch=64
)
WORDS = guests.echo("BYTES", batch=8)
PAIR = guests.dlpack(
    guests.ECHO_BODY,
    inputs=[tensor("x", "INT8", (24,)), tensor("z", "INT8", (24,), optional=True)],
    outputs=[tensor("y", "INT8", (24,)), tensor("w", "INT8", (24,))],
    batch=64,
)
ADD = guests.wasm(guests.ADD)
GUESTS = {
    "echo": (ECHO, Isolation.BATCH),
    "fresh": (ECHO, Isolation.REQUEST),
    "kept": (ECHO, Isolation.INSTANCE),
    "words": (WORDS, Isolation.BATCH),
    "pair": (PAIR, Isolation.BATCH),
    "elementwise": (ADD, Isolation.BATCH),
}


def block(name: str, configuration: str = '{"name": "model"}') -> bytes:
    """The plan of a guest, as the native executor reads it."""
    wasm, isolation = GUESTS[name]
    info = read_module(wasm, name)
    interface = discover(info, {}, where=name, setting_names=TRITON_NAMES)
    made = plan_entry(wasm, info, interface, isolation, LIMITS, TRITON_NAMES)
    code = [b"guest", b"loop", b"bridge"][: len(made.modules) - 1]
    code.append(f"adapter {len(interface.inputs)} {len(interface.outputs)}".encode())
    return bytes(
        layout.pack_plan(
            made,
            code,
            names=info.named_functions(),
            signals=False,
            struct_sizes=struct_sizes(),
            configuration=configuration,
        )
    )


def write(folder: Path) -> None:
    """All of them, as files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in GUESTS:
        (folder / name).write_bytes(block(name))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
