"""Models that come, go and are replaced under load: what `test_reloading` runs in small, and by hand in full.

    python -m tests.backend.triton.reloading                      # 1,000 loads and unloads, 200 reloads under load
    python -m tests.backend.triton.reloading --cycles 50 --reloads 10 --model python

Prints one line per part, and exits with 1 when a request failed, an answer was wrong, or something was left behind. The
model is one of the native engine, one of the Python engine, or (model.py, the yardstick) one of the Python backend.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from portalis.tritonserver import TritonServer
from tests.backend import guests
from tests.backend.triton import models
from tests.running.memory import resident_bytes
from tests.running.waiting import until

CLIENTS = 4
KEPT_VERSIONS = 2  # of which the newest serves: an older one leaves while it may still be answering
BATCHING = "dynamic_batching { max_queue_delay_microseconds: 2000 }\n"
# the yardstick: what a Python model that uses nothing of the Python backend but tensors goes through
PYTHON = """import triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            a, b = (pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in "ab")
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", a + b)]))
        return answers
"""
PYTHON_CONFIG = """backend: "python"
max_batch_size: 8
input [ { name: "a" data_type: TYPE_FP32 dims: [ -1 ] }, { name: "b" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ -1 ] } ]
"""


class Model:
    """A model in a repository, of which new versions appear and old ones leave."""

    def __init__(self, repository: Path, name: str, kind: str = "native", python: str = PYTHON, more: str = "") -> None:
        self.folder = repository / name
        self.name = name
        self.version = 1
        wasm = kind in models.ENGINES
        self._file = "model.wasm" if wasm else "model.py"
        self._data = guests.wasm(guests.ADD) if wasm else python.encode()
        self.folder.mkdir()
        self._write(1)
        start = models.BARE + models.engine(kind) if wasm else PYTHON_CONFIG
        (self.folder / "config.pbtxt").write_text(start + BATCHING + more)

    def _write(self, version: int) -> None:
        # whole at once: a server that polls must not see half a version
        new = Path(tempfile.mkdtemp(dir=self.folder.parent.parent))
        (new / self._file).write_bytes(self._data)
        new.chmod(0o755)
        new.rename(self.folder / str(version))

    def touch(self) -> None:
        (self.folder / str(self.version) / self._file).touch()

    def next_version(self) -> None:
        self.version += 1
        self._write(self.version)
        old = self.folder / str(self.version - KEPT_VERSIONS)
        if old.exists():
            gone = old.rename(self.folder.parent.parent / f"{self.name}-{old.name}-gone")
            shutil.rmtree(gone)


class Load:
    """Clients without a pause, and one that reads the metrics, while inside."""

    def __init__(self, server: TritonServer, model: str, scrape: bool = True) -> None:
        self.answered = 0
        self.failed: Counter[str] = Counter()
        self._server = server
        self._model = model
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(float(i),), daemon=True) for i in range(CLIENTS)]
        if scrape:
            self._threads.append(threading.Thread(target=self._scrape, daemon=True))

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _scrape(self) -> None:
        """Read the metrics concurrently, as on a monitored server."""
        while not self._stop.wait(0.1):
            try:
                with urllib.request.urlopen(self._server.metrics_url, timeout=60) as page:
                    page.read()
            except OSError as problem:
                self.failed[f"metrics: {problem}"] += 1

    def _run(self, value: float) -> None:
        import tritonclient.grpc as grpc
        from tritonclient.utils import InferenceServerException

        inputs = []
        for name in "ab":
            inputs.append(grpc.InferInput(name, [1, 16], "FP32"))
            inputs[-1].set_data_from_numpy(np.full((1, 16), value, np.float32))
        with grpc.InferenceServerClient(self._server.grpc_url) as client:
            while not self._stop.is_set():
                try:
                    y = client.infer(self._model, inputs, client_timeout=60).as_numpy("y")
                except InferenceServerException as problem:
                    self.failed[str(problem)[:160]] += 1
                    time.sleep(0.01)
                else:
                    if np.array_equal(y, np.full((1, 16), 2 * value, np.float32)):
                        self.answered += 1
                    else:
                        self.failed["a wrong answer"] += 1


def stubs(pid: int) -> list[int]:
    """The processes started by the server `pid` and their children, without the planner process, which exits on its
    own."""
    found, queue = [], [pid]
    while queue:
        for task in Path(f"/proc/{queue.pop()}/task").glob("*/children"):
            with contextlib.suppress(OSError):  # the thread has ended
                mine = [int(child) for child in task.read_text().split()]
                queue += mine
                found += mine
    return [child for child in found if b"/plan.py\0" not in command_line(child)]


def command_line(pid: int) -> bytes:
    """Empty for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def client_of(server: TritonServer) -> Any:
    """A client over gRPC."""
    import tritonclient.grpc as grpc

    return grpc.InferenceServerClient(server.grpc_url)


def come_and_go(server: TritonServer, model: Model, cycles: int) -> Iterator[int]:
    """Load, ask and unload, `cycles` times; yields the number of each. Nothing of a model is left after it."""
    inputs = {"a": np.ones((1, 2), np.float32), "b": np.ones((1, 2), np.float32)}
    from portalis.triton_client import RemoteModel

    client = client_of(server)
    for cycle in range(1, cycles + 1):
        client.load_model(model.name, client_timeout=120)
        with RemoteModel(server.grpc_url, model.name, timeout_s=60) as remote:
            assert remote.infer(inputs).outputs["y"].tolist() == [[2, 2]]
        client.unload_model(model.name, client_timeout=120)
        yield cycle
    _nothing_left(server)


def reload_explicitly(server: TritonServer, model: Model, reloads: int) -> Iterator[int]:
    """Reload explicitly: alternately by touching the file and by a new version; yields the number of each reload."""
    client = client_of(server)
    for reload in range(1, reloads + 1):
        model.touch() if reload % 2 else model.next_version()
        client.load_model(model.name, client_timeout=120)
        yield reload


def reload_by_polling(server: TritonServer, model: Model, reloads: int) -> Iterator[int]:
    """Like `reload_explicitly`, but the server detects the change; yields the number of each reload."""
    loaded = f"successfully loaded '{model.name}'"
    for reload in range(1, reloads + 1):
        before = server.log().count(loaded)
        model.touch() if reload % 2 else model.next_version()
        until(lambda: server.log().count(loaded) > before, "the server never loaded the change", every_s=0.2)  # noqa: B023
        yield reload


def unload(server: TritonServer, model: str) -> None:
    """Unload, and wait until nothing of it is left."""
    client_of(server).unload_model(model, client_timeout=120)
    _nothing_left(server)


def _nothing_left(server: TritonServer) -> None:
    until(lambda: not stubs(server.pid), lambda: f"stubs are left: {stubs(server.pid)}")
    until(lambda: not server.shared_memory(), lambda: f"shared memory is left: {server.shared_memory()}")


def settled(server: TritonServer, instances: int = 1) -> None:
    """Wait until replaced versions have gone: a stub (Triton starts it through a shell that it replaces) for each
    instance."""
    until(lambda: len(stubs(server.pid)) <= instances, lambda: f"stubs are left: {stubs(server.pid)}")
    client = client_of(server)
    until(client.is_server_ready, "the server is not ready")  # nor is it while a version leaves


def _memory(server: TritonServer) -> str:
    processes = [server.pid, *stubs(server.pid)]
    return f"{len(processes)} processes with {resident_bytes(*processes) / (1 << 20):.1f} MiB"


def _part(what: str, steps: Iterator[int], load: Load | None, wanted: int) -> bool:
    began, done, problem = time.monotonic(), 0, ""
    try:
        with load or contextlib.nullcontext():
            for done in steps:
                if done % 50 == 0:
                    print(f"  {what}: {done}", file=sys.stderr, flush=True)
    except Exception as error:  # noqa: BLE001 (whatever ends a part is its result)
        problem = f"; {type(error).__name__}: {str(error)[:300]}"
    requests = f", {load.answered} requests answered, failed: {dict(load.failed) or 'none'}" if load else ""
    print(f"{what}: {done} of {wanted} in {time.monotonic() - began:.0f} s{requests}{problem}", flush=True)
    return not problem and done == wanted and not (load and load.failed)


def _once(server: TritonServer) -> Iterator[int]:
    settled(server)
    yield 1


def explicitly(folder: Path, kind: str, python: str, cycles: int, reloads: int) -> bool:
    """Loads and unloads, then reloads under load; whether all held."""
    model, other = (Model(folder, name, kind, python) for name in ("replaced", "passing"))
    with TritonServer(folder, model_control="explicit", stop_timeout_s=120) as server:
        held = not cycles or _part("loads and unloads at first", come_and_go(server, other, 50), None, 50)
        print(_memory(server), flush=True)
        held = held and (not cycles or _part("loads and unloads", come_and_go(server, other, cycles), None, cycles))
        print(_memory(server), flush=True)
        if not held or not reloads:
            return held
        client_of(server).load_model(model.name)
        steps = reload_explicitly(server, model, reloads)
        held = _part("explicit reloads under load", steps, Load(server, model.name), reloads)
        print(_memory(server), flush=True)
        return _part("explicit: replaced versions have gone", _once(server), None, 1) and held


def by_polling(folder: Path, kind: str, python: str, reloads: int) -> bool:
    """Reloads under load; whether all held."""
    if not reloads:
        return True
    model, seconds = Model(folder, "replaced", kind, python), ["--repository-poll-secs=1"]
    with TritonServer(folder, model_control="poll", extra_args=seconds, stop_timeout_s=120) as server:
        steps = reload_by_polling(server, model, reloads)
        held = _part("polled reloads under load", steps, Load(server, model.name), reloads)
        return _part("polled: replaced versions have gone", _once(server), None, 1) and held


def main() -> int:
    """The exit code."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--cycles", type=int, default=1000, help="loads and unloads")
    options.add_argument("--reloads", type=int, default=200, help="reloads under load, half of them in each mode")
    options.add_argument("--model", choices=[*models.ENGINES, "model.py"], default="native")
    options.add_argument("--source", type=Path, help="the model.py of --model model.py")
    chosen = options.parse_args()
    python = chosen.source.read_text() if chosen.source else PYTHON
    polled = chosen.reloads // 2
    with tempfile.TemporaryDirectory() as folder:
        explicit, poll = (Path(folder) / place / "models" for place in ("explicit", "poll"))
        explicit.mkdir(parents=True)
        poll.mkdir(parents=True)
        held = explicitly(explicit, chosen.model, python, chosen.cycles, chosen.reloads - polled)
        return 0 if by_polling(poll, chosen.model, python, polled) and held else 1


if __name__ == "__main__":
    raise SystemExit(main())
