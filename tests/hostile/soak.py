"""``python -m tests.hostile.soak``: a mixed load on one service; one request in twenty is hostile.

It fails if an output is wrong, if a good request fails, if an attack succeeds, if a health probe exceeds a kubelet's
timeout, or if the memory grows in the second half of the run.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from portalis.examples.catalog import EXAMPLES
from tests.backend import guests
from tests.nim.service.process import Service, running
from tests.running.memory import resident_bytes

from .attacks import ATTACKS
from .statuses import statuses

HOSTILE_SHARE = 0.05
PROBE_S = 1.0  # a kubelet's default timeout of a probe
GROWTH = 1.05  # maximum ratio of the memory in the last quarter to that in the third
TOLERANCE_BYTES = 16 << 20
CLIENTS = 4


@dataclass
class Record:
    """Results of a run; `problems` must be empty."""

    counts: collections.Counter[str] = field(default_factory=collections.Counter)
    problems: list[str] = field(default_factory=list)
    probes_s: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)


class Connection:
    """A persistent connection, reopened after the service has closed it."""

    def __init__(self, port: int, timeout_s: float = 60) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)

    def send(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        try:
            self._http.request(method, path, body)
            response = self._http.getresponse()
            return response.status, response.read()
        except (http.client.HTTPException, OSError):
            self._http.close()
            raise

    def infer(self, model: str, x: np.ndarray, datatype: str = "FP32") -> tuple[int, Any]:
        """Status, and the data of the first output or the error message."""
        tensor = {"name": "x", "datatype": datatype, "shape": list(x.shape), "data": x.ravel().tolist()}
        status, body = self.send("POST", f"/v2/models/{model}/infer", json.dumps({"inputs": [tensor]}).encode())
        document = json.loads(body)
        return status, document["outputs"][0]["data"] if status == 200 else document["error"]


Good = Callable[[Connection, random.Random], str | None]


def _echo(connection: Connection, generator: random.Random) -> str | None:
    x = np.array([[generator.randint(-1000, 1000)]], np.float32)
    return _compare(connection.infer("echo", x), x)


def _double(connection: Connection, generator: random.Random) -> str | None:
    x = np.array([[generator.random() for _ in range(generator.choice((1, 16, 3000)))]], np.float32)
    return _compare(connection.infer("double", x), x * 2)


def _softmax(connection: Connection, generator: random.Random) -> str | None:
    x = np.array([[generator.uniform(-5, 5) for _ in range(generator.choice((2, 10, 500)))]], np.float32)
    exponentials = np.exp(x - x.max())
    return _compare(connection.infer("softmax", x), exponentials / exponentials.sum())


def _compare(result: tuple[int, Any], expected: np.ndarray) -> str | None:
    status, data = result
    if status != 200:
        return f"expected status 200, got {status}: {data}"
    return (
        None
        if np.allclose(data, expected.ravel(), rtol=1e-5, atol=1e-6)
        else f"expected {expected[:5]}, got {data[:5]}"
    )


GOOD: dict[str, Good] = {"echo": _echo, "double": _double, "softmax": _softmax}


def write_models(folder: Path) -> list[dict[str, Any]]:
    """Write all modules, good and hostile; returns the models for ``service.json``."""
    double = {"entry": "double", "convention": "gufunc", "signature": "(n)->(n)", "max_batch_size": 8}
    double |= {"inputs": [guests.tensor("x")], "outputs": [guests.tensor("y")]}
    modules = {
        "echo": guests.echo(dims=(1,), batch=8),
        "double": guests.wasm(guests.DOUBLE, double),
        "softmax": EXAMPLES["softmax"].module.read_bytes(),
        **{attack.name: attack.module for attack in ATTACKS},
    }
    for name, module in modules.items():
        (folder / f"{name}.wasm").write_bytes(module)
    limits = {attack.name: attack.all_limits for attack in ATTACKS}
    return [{"name": name, "file": f"{name}.wasm", "limits": limits.get(name, {})} for name in modules]


def _client(service: Service, record: Record, until: float, seed: int) -> None:
    generator = random.Random(seed)
    connection = Connection(service.client.port)
    while time.monotonic() < until:
        if generator.random() < HOSTILE_SHARE:
            attack = generator.choice(ATTACKS)
            status, result = connection.infer(attack.name, np.ones((1, 1), np.float32))
            record.counts["hostile"] += 1
            if status not in statuses(attack):
                record.problems.append(f"{attack.name} ended in {status}: {str(result)[:200]}")
        else:
            name = generator.choice(list(GOOD))
            problem = GOOD[name](connection, generator)
            record.counts["good"] += 1
            if problem is not None:
                record.problems.append(f"{name}: {problem}")


def _guarded(record: Record, work: Callable[..., None], *args: Any) -> None:
    """Run `work` and record any exception, for example a closed connection, as a problem."""
    try:
        work(*args)
    except Exception as error:  # noqa: BLE001
        record.problems.append(f"{work.__name__}: {type(error).__name__}: {error}")


def _probe(service: Service, record: Record, until: float) -> None:
    while time.monotonic() < until:
        start = time.monotonic()
        connection = Connection(service.client.port, timeout_s=30)
        if connection.send("GET", "/v1/health/live")[0] != 200:
            record.problems.append("a health probe failed")
        record.probes_s.append(time.monotonic() - start)
        if record.probes_s[-1] > PROBE_S:
            record.problems.append(f"a health probe took {record.probes_s[-1]:.2f} s")
        time.sleep(0.5)


def memory_of(service: Service) -> int:
    """Resident memory of the service and its child processes, in bytes."""
    pids = [service.process.pid]
    for pid in pids:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            with suppress(OSError):  # the thread has ended
                pids += map(int, children.read_text().split())
    return resident_bytes(*pids)


def soak(service: Service, seconds: float, report: Callable[[str], None], seed: int = 0) -> Record:
    """Run the load against `service` for `seconds`; `report` receives lines about the progress."""
    record, until = Record(), time.monotonic() + seconds
    threads = [
        threading.Thread(target=_guarded, args=(record, _client, service, record, until, seed + i))
        for i in range(CLIENTS)
    ]
    threads.append(threading.Thread(target=_guarded, args=(record, _probe, service, record, until)))
    for thread in threads:
        thread.start()
    while (left := until - time.monotonic()) > 0 and service.process.poll() is None:
        time.sleep(min(left, max(seconds / 100, 0.2)))
        record.memory.append(memory_of(service))
        if len(record.memory) % 10 == 0:
            counts = (
                f"{record.counts['good']} good, {record.counts['hostile']} hostile, {len(record.problems)} problems"
            )
            report(f"{seconds - max(left, 0):.0f} s: {counts}; {record.memory[-1] >> 20} MiB")
    for thread in threads:
        thread.join()
    if service.process.poll() is not None:
        record.problems.append(f"the service ended with {service.process.returncode}: {service.text()[-500:]}")
    return record


def memory_growth(memory: list[int]) -> tuple[int, int]:
    """Maximum of the memory in the third and in the last quarter."""
    quarter = max(len(memory) // 4, 1)
    return max(memory[-2 * quarter : -quarter] or memory), max(memory[-quarter:])


@contextmanager
def hostile_service() -> Iterator[Service]:
    """Run a service with good and hostile models; yields it once it is ready."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        path = Path(folder)
        with running(path, write_models(path)) as service:
            service.wait_ready()
            yield service


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8, help="duration (default: 8)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the order of requests (default: 0)")
    options = parser.parse_args()
    with hostile_service() as service:
        record = soak(service, options.minutes * 60, lambda text: print(text, flush=True), options.seed)
    before, after = memory_growth(record.memory)
    if after > before * GROWTH + TOLERANCE_BYTES:
        record.problems.append(
            f"memory grew from {before >> 20} MiB in the third quarter to {after >> 20} MiB in the last"
        )
    probes = sorted(record.probes_s)
    print(f"{record.counts['good']} good requests, {record.counts['hostile']} hostile")
    print(f"health probes: {len(probes)}, maximum {probes[-1] if probes else 0:.3f} s")
    print(f"memory: maximum {before >> 20} MiB in the third quarter, {after >> 20} MiB in the last")
    for problem, count in collections.Counter(record.problems).most_common(20):
        print(f"PROBLEM ({count}): {problem}")
    print("failed" if record.problems else "passed")
    return 1 if record.problems else 0


if __name__ == "__main__":
    sys.exit(main())
