"""Sandboxes at the edges: processes with little address space, forked ones, memory that is too much to clear."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from portalis.backend import Program
from tests.backend import guests
from tests.backend.guests import tensor
from tests.running.waiting import PATIENCE_S

pytestmark = pytest.mark.usefixtures("executor")

PROGRAM = """
import numpy as np
from portalis.backend import Program
from tests.backend import guests

def check(program):
    for value in range(5):
        x = np.full((100_000,), value, np.float32)
        (result,) = program.run_batch([{"x": x}], borrow=True)
        np.testing.assert_array_equal(result["y"], x)
        np.testing.assert_array_equal(program.run({"x": x})["y"], x)
"""


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", PROGRAM + code], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_process_without_address_space_for_the_pool_still_runs_guests() -> None:
    message = run("""
import resource
resource.setrlimit(resource.RLIMIT_AS, (40 << 30, 40 << 30))
program = Program.load(guests.echo(), cache=None, trusted=True)
check(program)
print("served", program.stats.instances)
""")
    assert message == "served 1\n"  # and kept


def test_a_forked_process_has_separate_engines() -> None:
    message = run("""
import os, signal
from portalis.backend import Limits
check(Program.load(guests.echo()))
child = os.fork()
signal.alarm(240)  # whatever happens, neither process stays
program = Program.load(guests.echo())
check(program)
looping = guests.dlpack("(loop $l (br $l)) (i32.const 0)", inputs=[guests.tensor("x")], outputs=[guests.tensor("y")])
try:
    Program.load(looping, limits=Limits(timeout_s=0.2)).run({"x": np.ones(1, np.float32)})
except Exception as error:
    line = f"{'child' if not child else 'parent'} {'time limit of 0.2 s' in str(error)}\\n"
    os.write(1, line.encode())  # in one piece: both write to the same pipe
if not child:
    os._exit(0)
os.waitpid(child, 0)
""")
    assert sorted(message.splitlines()) == ["child True", "parent True"]


def test_an_instance_that_is_slower_to_clear_than_to_replace_is_not_rewound() -> None:
    body = """(drop (memory.grow (i32.const 100)))
      (i32.store (i32.load (local.get $out)) (memory.size)) (i32.const 0)"""
    module = guests.dlpack(body, inputs=[tensor("x")], outputs=[tensor("y", "INT32", (1,))], batch=8)
    with Program.load(module) as program:
        x = np.ones((1, 1), np.float32)
        for borrow in (False, True, True, False):
            (result,) = program.run_batch([{"x": x}], borrow=borrow)
            assert result["y"].tolist() == [[101]]  # type: ignore[index]
        assert program.stats.instances == 4
        assert program.stats.memory_high_water_bytes == 101 * 65536
