"""A running tritonserver: started on loopback, waited for, and stopped without leaving anything behind."""

from __future__ import annotations

import collections
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from ..errors import TritonFailed, UsageError
from ..free_ports import free_ports
from ..naming import shell_trouble
from .backend_layout import backend_directory as lay_out_backends
from .backend_layout import python_runtime
from .install import TritonInstall, find
from .listening import listening_ports
from .server_log import why_it_failed

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (where POSIX shared memory is on Linux)
POLL_S = 0.05
RELAY_END_S = 2.0  # the pipe closes when the last process that holds it is gone
KEPT_LINES = 400
PORT_TAKEN = "already in use"
# Triton ends itself so where a process that starts a model stands still for two seconds, as on a busy machine
ABORTED = "boost::interprocess::lock_exception"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The three ports of a server. 0 stands for a free one."""

    grpc: int = 0
    http: int = 0
    metrics: int = 0

    @property
    def chosen(self) -> bool:
        """Whether all of them are known."""
        return 0 not in (self.grpc, self.http, self.metrics)

    def choose(self, host: str) -> Ports:
        """These, with ports of `host` that nobody listens on for 0. Another may take one before Triton does. Raises
        TritonFailed where `host` is no address of this machine."""
        if self.chosen:
            return self
        try:
            grpc, http, metrics = free_ports(3, host)
        except OSError as problem:
            raise TritonFailed(
                f"cannot listen on {host}: {problem.strerror}", remediation="Name an address of this machine."
            ) from None
        return Ports(grpc=self.grpc or grpc, http=self.http or http, metrics=self.metrics or metrics)


class TritonServer:
    """The real tritonserver on `repository`, as a context manager; `start` and `stop` are the same by hand.

    Args:
        repository: the model repository, or several.
        backend_directory: a folder made by `portalis.tritonserver.backend_directory`; a temporary one by default.
        model_control: ``"none"``, ``"poll"`` or ``"explicit"``, as ``--model-control-mode``.
        extra_args: further arguments of tritonserver, after ours.
        log_path: where the server's log goes; a temporary file by default. `log` reads it.
        require_all: fail when any model fails to load. False serves the others (``--exit-on-error=false``).
        ports: free ones by default; others are chosen when a start fails because one was taken meanwhile.
        host: the address that all three ports listen on.
        environment: variables added to the server's.
        start_timeout_s: how long loading may take.
        foreground: pass the log on to this process's stderr; `log` then has its last lines only.
    """

    def __init__(
        self,
        repository: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        backend_directory: str | os.PathLike[str] | None = None,
        model_control: str | None = None,
        extra_args: Sequence[str] = (),
        log_path: str | os.PathLike[str] | None = None,
        require_all: bool = True,
        ports: Ports = Ports(),
        host: str = "127.0.0.1",
        environment: dict[str, str] | None = None,
        start_timeout_s: float = 120.0,
        stop_timeout_s: float = 20.0,
        foreground: bool = False,
        install: TritonInstall | None = None,
    ) -> None:
        repositories = [repository] if isinstance(repository, (str, os.PathLike)) else list(repository)
        self.repositories = [Path(each).absolute() for each in repositories]
        self.host = host
        self._backends = backend_directory
        self._model_control = model_control
        self._extra_args = tuple(extra_args)
        self._log_path = Path(log_path) if log_path is not None else None
        self._require_all = require_all
        self._wanted_ports = ports
        self._environment = environment or {}
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._foreground = foreground
        self._install = install
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self._shm_prefix = ""
        self._last_lines: collections.deque[bytes] = collections.deque(maxlen=KEPT_LINES)
        self._relay: threading.Thread | None = None
        self._ports = ports

    # -- what it tells -----------------------------------------------------------------------------------------

    @property
    def ports(self) -> Ports:
        return self._ports

    @property
    def grpc_url(self) -> str:
        """``host:port``, as tritonclient.grpc wants it."""
        return f"{self._client_host}:{self._ports.grpc}"

    @property
    def http_url(self) -> str:
        """``host:port``, as tritonclient.http wants it."""
        return f"{self._client_host}:{self._ports.http}"

    @property
    def metrics_url(self) -> str:
        """A whole URL: ``http://host:port/metrics``."""
        return f"http://{self._client_host}:{self._ports.metrics}/metrics"

    @property
    def _client_host(self) -> str:
        everywhere = ("0.0.0.0", "::")  # noqa: S104 (compared with, not bound to)
        return "127.0.0.1" if self.host in everywhere else self.host

    @property
    def pid(self) -> int:
        if self._process is None:
            raise TritonFailed("this TritonServer was not started")
        return self._process.pid

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """All that the server and its models wrote so far."""
        if self._log_path is None or not self._log_path.exists():
            return b"".join(self._last_lines).decode(errors="replace")
        return self._log_path.read_text(errors="replace")

    def shared_memory(self) -> list[Path]:
        """The regions of shared memory that this server's stubs hold now."""
        return sorted(SHARED_MEMORY.glob(f"{self._shm_prefix}*")) if self._shm_prefix else []

    # -- its life ----------------------------------------------------------------------------------------------

    def __enter__(self) -> TritonServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, attempts: int = 3) -> TritonServer:
        """Start and wait until ready. Raises `TritonFailed` with the relevant lines of the log."""
        if self._process is not None:
            raise TritonFailed("this TritonServer was started before", remediation="Make a new TritonServer.")
        install = self._install or find()
        self._check_paths()
        self._folder = Path(tempfile.mkdtemp(prefix="portalis-triton-"))
        try:
            backends = Path(self._backends or lay_out_backends(self._folder / "backends", install=install))
            environment = python_runtime(install, self._folder) | self._environment
            if self._log_path is None and not self._foreground:
                self._log_path = self._folder / "triton.log"
            for attempt in range(attempts):
                self._ports = self._wanted_ports.choose(self.host)
                self._spawn(install, backends, environment)
                if self._wait_until_ready(last=attempt == attempts - 1):
                    break
                if self._foreground:
                    sys.stderr.write("portalis: tritonserver ended while it started; starting it again\n")
        except BaseException:
            self.stop()
            raise
        return self

    def _check_paths(self) -> None:
        """Triton's Python backend hands these to a shell, unquoted: see `shell`."""
        backends = [Path(self._backends).absolute()] if self._backends is not None else []
        for path in [*self.repositories, *backends, Path(tempfile.gettempdir()).absolute()]:
            trouble = shell_trouble(str(path))
            if trouble:
                remedy = "Rename it, or name a link to it, as `ln -s` makes one; TMPDIR sets the temporary folder."
                raise UsageError(f"the path {str(path)!r} {trouble}", remediation=remedy)

    def _spawn(self, install: TritonInstall, backends: Path, environment: dict[str, str]) -> None:
        self._shm_prefix = f"portalis_{os.getpid()}_{secrets.token_hex(4)}_"
        command = [*_die_with_parent(), *self._command(install, backends)]
        with contextlib.ExitStack() as files:
            output = subprocess.PIPE if self._log_path is None else files.enter_context(self._log_path.open("wb"))
            # its own session: one signal reaches the server and every stub, and a terminal's Ctrl-C reaches neither
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if self._process.stdout is not None:
            self._relay = threading.Thread(target=self._pass_on, args=(self._process.stdout,), daemon=True)
            self._relay.start()

    def _pass_on(self, output: IO[bytes]) -> None:
        with output:
            for line in output:
                self._last_lines.append(line)
                sys.stderr.buffer.write(line)
                sys.stderr.buffer.flush()

    def _command(self, install: TritonInstall, backends: Path) -> list[str]:
        return [
            str(install.binary),
            *(f"--model-repository={repository}" for repository in self.repositories),
            f"--backend-directory={backends}",
            # python-based backends read the Python backend's settings, and a library that opens it its own; the prefix
            # lets us remove what a kill leaves
            *(f"--backend-config={name},shm-region-prefix-name={self._shm_prefix}" for name in ("python", "wasm")),
            f"--grpc-address={self.host}",
            f"--grpc-port={self._ports.grpc}",
            f"--http-address={self.host}",
            f"--http-port={self._ports.http}",
            f"--metrics-address={self.host}",
            f"--metrics-port={self._ports.metrics}",
            *(() if Path("/dev/nvidiactl").exists() else ("--allow-gpu-metrics=false",)),
            *(() if self._require_all else ("--exit-on-error=false",)),
            *((f"--model-control-mode={self._model_control}",) if self._model_control else ()),
            *self._extra_args,
        ]

    def _wait_until_ready(self, *, last: bool) -> bool:
        """True when ready; False when it ended for a reason that another try may not meet."""
        # HTTP answers only after all models were tried; "ready" stays 400 when one of them failed
        url = f"http://{self.http_url}/v2/health/{'ready' if self._require_all else 'live'}"
        deadline = time.monotonic() + self._start_timeout_s
        while time.monotonic() < deadline:
            code = None if self._process is None else self._process.poll()
            if code is not None:
                if self._relay is not None:
                    self._relay.join(RELAY_END_S)  # its last words may still be in the pipe
                log = self.log()
                if not last and (ABORTED in log or (PORT_TAKEN in log and not self._wanted_ports.chosen)):
                    self._clean_up_after_process()
                    return False
                raise TritonFailed(
                    f"tritonserver stopped with exit code {code} while starting{why_it_failed(log)}",
                    remediation="Fix what the log names; or take the model that it names out of the repository.",
                )
            if _answers(url) and self._has_its_ports():
                return True
            time.sleep(POLL_S)
        missing = "" if self._has_its_ports() else ", or does not listen on all its ports"
        raise TritonFailed(
            f"tritonserver was not ready after {self._start_timeout_s:g} s{missing}{why_it_failed(self.log())}",
            remediation="Give it longer, load fewer models, or choose other ports.",
        )

    def _has_its_ports(self) -> bool:
        """Whether it is this server that listens. (Triton runs on without metrics when that port is taken.)"""
        wanted = {self._ports.http}
        if "--allow-grpc=false" not in self._extra_args:
            wanted.add(self._ports.grpc)
        if "--allow-metrics=false" not in self._extra_args:
            wanted.add(self._ports.metrics)
        return wanted <= listening_ports(self.pid)

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait until the server ends by itself; its exit code."""
        if self._process is None:
            raise TritonFailed("this TritonServer was not started")
        return self._process.wait(timeout_s)

    def stop(self) -> None:
        """SIGTERM, then SIGKILL after the deadline; then remove what is left: stubs, shared memory, own files.
        Harmless when repeated."""
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self._stop_timeout_s)
        if process is not None:
            self._clean_up_after_process()
        if self._folder is not None:
            if self._log_path is not None and self._log_path.is_relative_to(self._folder):
                self._last_lines.append(self._log_path.read_bytes() if self._log_path.exists() else b"")
            shutil.rmtree(self._folder, ignore_errors=True)

    def _clean_up_after_process(self) -> None:
        process = self._process
        assert process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the server if it hangs, and stubs that outlived it
        process.wait()
        if self._relay is not None:
            self._relay.join(RELAY_END_S)
        for region in self.shared_memory():
            region.unlink(missing_ok=True)


def _die_with_parent() -> list[str]:
    """A prefix that has the kernel stop the server when this process dies, however it dies.

    The kernel ties it to the *thread* that starts the child, hence only from the main thread. (`preexec_fn` could do
    the same, but forking beside gRPC's threads is not safe.)
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return []
    return [setpriv, "--pdeathsig", "TERM"]


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
