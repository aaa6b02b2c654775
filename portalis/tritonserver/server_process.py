"""A tritonserver process: started on loopback, awaited until it is ready, and stopped together with its stubs."""

from __future__ import annotations

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
from pathlib import Path
from types import TracebackType

from ..errors import TritonFailed, UsageError
from ..naming import shell_problem
from .backend_layout import create_backend_directory, python_runtime
from .install import TritonInstall, find_tritonserver
from .server_log import ServerLog, startup_errors
from .server_ports import FREE_PORTS, Ports, listening_ports

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (the directory of POSIX shared memory on Linux)
_POLL_S = 0.05
# in Triton's log, if a start failed for a reason that a second attempt may not meet
_PORT_IN_USE = "already in use"
_LOCK_TIMEOUT = "boost::interprocess::lock_exception"  # a process that starts a model was not scheduled for two seconds


class TritonServer:
    """A real tritonserver on `repository`. It is a context manager; `start` and `stop` do the same without ``with``.

    Args:
        repository: the model repository, or several.
        backend_directory: a directory from `create_backend_directory`; a temporary one by default.
        model_control: ``"none"``, ``"poll"`` or ``"explicit"``, as ``--model-control-mode``.
        extra_args: further arguments of tritonserver, after those of this class.
        log_path: the file of the server's log; a temporary file by default. `log` reads it.
        require_all: fail if any model fails to load. False serves the others (``--exit-on-error=false``).
        ports: free ports by default. Others are chosen if a start fails because one is in use by then.
        host: the address that all three ports listen on.
        environment: variables added to the server's.
        start_timeout_s: maximum time for loading the models.
        stop_timeout_s: time between SIGTERM and SIGKILL.
        foreground: write the log to this process's stderr; `log` then returns its last lines only.
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
        ports: Ports = FREE_PORTS,
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
        self._log = ServerLog(Path(log_path) if log_path is not None else None)
        self._require_all = require_all
        self._requested_ports = ports
        self._environment = environment or {}
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._foreground = foreground
        self._install = install
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self._shm_prefix = ""
        self._ports = ports

    @property
    def ports(self) -> Ports:
        """The ports of the last start."""
        return self._ports

    @property
    def grpc_url(self) -> str:
        """``host:port``, as tritonclient.grpc expects it."""
        return f"{self._client_host}:{self._ports.grpc}"

    @property
    def http_url(self) -> str:
        """``host:port``, as tritonclient.http expects it."""
        return f"{self._client_host}:{self._ports.http}"

    @property
    def metrics_url(self) -> str:
        """``http://host:port/metrics``."""
        return f"http://{self._client_host}:{self._ports.metrics}/metrics"

    @property
    def _client_host(self) -> str:
        any_address = ("0.0.0.0", "::")  # noqa: S104 (compared with, not bound to)
        return "127.0.0.1" if self.host in any_address else self.host

    @property
    def pid(self) -> int:
        """The id of the server's process. Raises TritonFailed before the start."""
        if self._process is None:
            raise TritonFailed("this TritonServer was not started")
        return self._process.pid

    def running(self) -> bool:
        """Whether the process has started and not ended."""
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """The output of the server and its models so far; with `foreground` its last lines."""
        return self._log.text()

    def shared_memory(self) -> list[Path]:
        """The shared memory regions that exist for this server's stubs."""
        return sorted(_SHARED_MEMORY.glob(f"{self._shm_prefix}*")) if self._shm_prefix else []

    def __enter__(self) -> TritonServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, attempts: int = 3) -> TritonServer:
        """Start the server and wait until it is ready. Raises TritonFailed with the relevant lines of the log."""
        if self._process is not None:
            raise TritonFailed("this TritonServer was started before", remediation="Make a new TritonServer.")
        install = self._install or find_tritonserver()
        self._check_paths()
        self._folder = Path(tempfile.mkdtemp(prefix="portalis-triton-"))
        try:
            backends = Path(self._backends or create_backend_directory(self._folder / "backends", install=install))
            environment = python_runtime(install, self._folder) | self._environment
            if self._log.path is None and not self._foreground:
                self._log.path = self._folder / "triton.log"
            for attempt in range(attempts):
                self._ports = self._requested_ports.choose(self.host)
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
        """Raise UsageError for paths that are not safe in a shell: Triton's Python backend passes them unquoted."""
        backends = [Path(self._backends).absolute()] if self._backends is not None else []
        for path in [*self.repositories, *backends, Path(tempfile.gettempdir()).absolute()]:
            problem = shell_problem(str(path))
            if problem:
                remediation = "Rename it, or use a symbolic link to it (`ln -s`); TMPDIR sets the temporary directory."
                raise UsageError(f"the path {str(path)!r} {problem}", remediation=remediation)

    def _spawn(self, install: TritonInstall, backends: Path, environment: dict[str, str]) -> None:
        self._shm_prefix = f"portalis_{os.getpid()}_{secrets.token_hex(4)}_"
        command = [*_die_with_parent(), *self._command(install, backends)]
        with contextlib.ExitStack() as files:
            path = self._log.path
            output = subprocess.PIPE if path is None else files.enter_context(path.open("wb"))
            # in a separate session, one signal reaches the server and every stub, and a terminal's Ctrl-C none of them
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if self._process.stdout is not None:
            self._log.relay(self._process.stdout)

    def _command(self, install: TritonInstall, backends: Path) -> list[str]:
        return [
            str(install.binary),
            *(f"--model-repository={repository}" for repository in self.repositories),
            f"--backend-directory={backends}",
            # python-based backends read the settings of "python", and libwasm those of "wasm"; by the prefix `stop`
            # finds the regions that a killed stub leaves
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
        """True if the server is ready; False if it ended for a reason that might not recur."""
        # HTTP responds only after loading of all models has ended; "ready" stays 400 if one of them failed
        url = f"http://{self.http_url}/v2/health/{'ready' if self._require_all else 'live'}"
        deadline = time.monotonic() + self._start_timeout_s
        while time.monotonic() < deadline:
            code = None if self._process is None else self._process.poll()
            if code is not None:
                self._log.finish()
                log = self.log()
                if not last and (_LOCK_TIMEOUT in log or (_PORT_IN_USE in log and not self._requested_ports.chosen)):
                    self._clean_up_after_process()
                    return False
                raise TritonFailed(
                    f"tritonserver stopped with exit code {code} while starting{startup_errors(log)}",
                    remediation="Fix what the log names; or take the model that it names out of the repository.",
                )
            if _responds_ok(url) and self._has_its_ports():
                return True
            time.sleep(_POLL_S)
        missing = "" if self._has_its_ports() else ", or does not listen on all its ports"
        raise TritonFailed(
            f"tritonserver was not ready after {self._start_timeout_s:g} s{missing}{startup_errors(self.log())}",
            remediation="Allow more time, load fewer models, or choose other ports.",
        )

    def _has_its_ports(self) -> bool:
        """Whether this server itself listens on its ports: Triton runs without metrics if that port is in use."""
        expected = {self._ports.http}
        if "--allow-grpc=false" not in self._extra_args:
            expected.add(self._ports.grpc)
        if "--allow-metrics=false" not in self._extra_args:
            expected.add(self._ports.metrics)
        return expected <= listening_ports(self.pid)

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait until the server ends on its own, and return its exit code."""
        if self._process is None:
            raise TritonFailed("this TritonServer was not started")
        return self._process.wait(timeout_s)

    def stop(self) -> None:
        """Send SIGTERM, and SIGKILL after `stop_timeout_s`; then remove stubs, shared memory and temporary files.

        A second call does nothing.
        """
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self._stop_timeout_s)
        if process is not None:
            self._clean_up_after_process()
        if self._folder is not None:
            if self._log.path is not None and self._log.path.is_relative_to(self._folder):
                self._log.keep()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _clean_up_after_process(self) -> None:
        process = self._process
        assert process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # a server that hangs, and stubs that are still running
        process.wait()
        self._log.finish()
        for region in self.shared_memory():
            region.unlink(missing_ok=True)


def _die_with_parent() -> list[str]:
    """The prefix of a command that the kernel stops when this process ends, even by a signal.

    The kernel watches the *thread* that starts the child, so the prefix is empty in all but the main thread.
    (`preexec_fn` could do the same, but to fork next to gRPC's threads is not safe.)
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return []
    return [setpriv, "--pdeathsig", "TERM"]


def _responds_ok(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False
