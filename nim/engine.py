"""The container engine, Docker or Podman, through the one interface that both have. The only module that imports the
Docker SDK."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..spec.container import ContainerConfiguration, ContainerRuntime
from .image import BuildTimedOut, EngineFailed, EngineUnavailable, Image, read_image
from .packing import pack

try:
    import docker
    from docker.errors import APIError, DockerException, NotFound
    from docker.utils import kwargs_from_env
    from requests.exceptions import RequestException
    from urllib3.exceptions import HTTPError
except ImportError:
    raise EngineUnavailable("the Docker SDK is not installed", remediation="pip install 'portalis[nim]'") from None

ANSWER_TIMEOUT_S = 120.0
STOP_S = 20
_TROUBLE = (DockerException, RequestException, HTTPError, OSError)
_VARIABLES = {ContainerRuntime.Docker: ("DOCKER_HOST",), ContainerRuntime.Podman: ("CONTAINER_HOST", "DOCKER_HOST")}
_START = {
    ContainerRuntime.Docker: "Start Docker (`systemctl start docker`), or set DOCKER_HOST to where it listens.",
    ContainerRuntime.Podman: "Start Podman's service (`systemctl --user start podman.socket`), or set CONTAINER_HOST.",
}


class Engine:
    """A connection to an engine. Close it, or use it with ``with``."""

    def __init__(self, client: Any, address: str) -> None:
        self._client = client
        self.address = address

    @classmethod
    def find(
        cls, runtime: ContainerRuntime = ContainerRuntime.Docker, environment: Mapping[str, str] = os.environ
    ) -> Engine:
        """The engine that the environment names, else the one at the usual places of `runtime`. Raises
        EngineUnavailable, which says what was tried and what to do."""
        tried = []
        for address in _addresses(runtime, environment):
            options = kwargs_from_env(environment={**environment, "DOCKER_HOST": address})
            try:
                client = docker.APIClient(**options, version="auto", timeout=ANSWER_TIMEOUT_S)
            except _TROUBLE as problem:
                tried.append(f"{address}: {_cause(problem)}")
            else:
                return cls(client, address)
        raise EngineUnavailable(
            f"no {runtime} engine answers ({'; '.join(tried)})", remediation=_START[ContainerRuntime(runtime)]
        )

    def version(self) -> str:
        """Name and version of the engine, for people."""
        told = self._client.version()
        names = [part.get("Name", "") for part in told.get("Components") or ()]
        return f"{names[0] if names else 'Engine'} {told.get('Version', '?')}"

    def has_bridge(self) -> bool:
        """Whether containers can have a network of their own here. Without one they share the host's."""
        return any(network.get("Driver") == "bridge" for network in self._client.networks())

    def build(
        self,
        folder: Path,
        reference: str,
        *,
        arguments: Mapping[str, str] | None = None,
        timeout_s: float = 600,
        network: str | None = None,
        on_line: Callable[[str], None] = lambda _: None,
    ) -> Image:
        """Build the context in `folder` as `reference` (``name:tag``); `on_line` gets each line of the engine's log.

        `network` is that of the build's steps: ``none`` where the wheels are in the context. Raises EngineFailed or
        BuildTimedOut, both with the whole log.
        """
        log: list[str] = []
        late = threading.Event()
        try:
            with tempfile.TemporaryFile() as archive:
                pack(folder, archive)
                archive.seek(0)
                with self._deadline(timeout_s, late):
                    steps = self._client.build(
                        fileobj=archive,
                        custom_context=True,
                        tag=reference,
                        buildargs=dict(arguments or {}),
                        network_mode=network,
                        rm=True,
                        forcerm=True,
                        decode=True,
                        timeout=timeout_s + ANSWER_TIMEOUT_S,
                    )
                    failure = _follow(steps, log, on_line)
        except _TROUBLE as problem:
            failure = _cause(problem)
        if late.is_set():
            raise BuildTimedOut(
                f"building {reference} took longer than {timeout_s:g} s and was given up",
                remediation="Raise container_config.build_timeout, or see in the log what takes so long.",
                log=log,
            )
        if failure:
            raise EngineFailed(
                f"building {reference} failed: {failure}", remediation="See the build's log above.", log=log
            )
        return self.inspect(reference)

    @contextlib.contextmanager
    def _deadline(self, timeout_s: float, late: threading.Event) -> Iterator[None]:
        """Sets `late` and ends every answer that is being read when the time is over; the engine stops a build that
        nobody reads."""
        answers: list[Any] = []

        def end() -> None:
            late.set()
            for answer in answers:
                with contextlib.suppress(ValueError, RuntimeError, OSError):
                    answer.raw.shutdown()

        def keep(answer: Any, *_: Any, **__: Any) -> None:
            answers.append(answer)

        timer = threading.Timer(timeout_s, end)
        self._client.hooks["response"].append(keep)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            self._client.hooks["response"].remove(keep)
            if late.is_set():
                for answer in answers:
                    answer.close()

    def inspect(self, reference: str) -> Image:
        """The image called `reference`. Raises EngineFailed when there is none."""
        with self._telling(f"there is no image {reference}"):
            return read_image(self._client.inspect_image(reference), self._client.history(reference))

    def save(self, reference: str, file: Path) -> int:
        """Write the image to the tar archive `file`, as ``docker load`` reads it. Returns its size in bytes."""
        with self._telling(f"cannot export {reference}"), file.open("wb") as archive:
            return sum(archive.write(chunk) for chunk in self._client.get_image(reference))

    def remove(self, reference: str) -> None:
        """Forget the image, if it is there."""
        with self._telling(f"cannot remove {reference}"), contextlib.suppress(NotFound):
            self._client.remove_image(reference, force=True)

    def start(
        self,
        reference: str,
        *,
        config: ContainerConfiguration,
        environment: Mapping[str, str] | None = None,
        network: str | None = None,
        ports: Mapping[int, int] | None = None,
        user: str | None = None,
        health_interval_s: float = 1,
    ) -> str:
        """Start a container confined as `config` says, and return its id. `ports` maps ports of the container to ports
        of loopback; a health check of the image is made every `health_interval_s`."""
        checked = self.inspect(reference).config.get("Healthcheck")
        with self._telling(f"cannot start {reference}"):
            host = self._client.create_host_config(
                network_mode=network,
                port_bindings={inside: ("127.0.0.1", outside) for inside, outside in (ports or {}).items()},
                read_only=config.read_only_root_filesystem,
                cap_drop=list(config.drop_capabilities),
                security_opt=["no-new-privileges"],
            )
            made = self._client.create_container(
                reference,
                host_config=host,
                environment=dict(environment or {}),
                ports=list(ports or {}),
                user=user,
                # what is left out stays as it is in the image
                healthcheck={"interval": int(health_interval_s * 1e9)} if checked else None,
            )
            self._client.start(made["Id"])
        return str(made["Id"])

    def state(self, container: str) -> Mapping[str, Any]:
        """The engine's ``State`` of a container: ``Status``, ``ExitCode``, ``Health``."""
        with self._telling(f"there is no container {container}"):
            found: Mapping[str, Any] = self._client.inspect_container(container)["State"]
        return found

    def log(self, container: str) -> list[str]:
        """The last lines that a container wrote."""
        with self._telling(f"there is no log of {container}"):
            text: bytes = self._client.logs(container, tail=200)
        return text.decode(errors="replace").splitlines()

    def stop(self, container: str) -> int:
        """Ask a container to end (SIGTERM, then SIGKILL after 20 s). Returns its exit status."""
        with self._telling(f"cannot stop {container}"):
            self._client.stop(container, timeout=STOP_S)
            return int(self._client.wait(container, timeout=STOP_S)["StatusCode"])

    def discard(self, container: str) -> None:
        """Remove a container, running or not."""
        with self._telling(f"cannot remove {container}"), contextlib.suppress(NotFound):
            self._client.remove_container(container, force=True, v=True)

    @contextlib.contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        try:
            yield
        except _TROUBLE as problem:
            raise EngineFailed(f"{what}: {_cause(problem)}", remediation=f"Ask the engine at {self.address}.") from None

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _addresses(runtime: ContainerRuntime, environment: Mapping[str, str]) -> list[str]:
    named = [environment[name] for name in _VARIABLES[runtime] if environment.get(name)]
    if named:
        return named[:1]  # who names an engine does not mean another
    folder = environment.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    if runtime is ContainerRuntime.Podman:
        return [f"unix://{folder}/podman/podman.sock", "unix:///run/podman/podman.sock"]
    return ["unix:///var/run/docker.sock", f"unix://{folder}/docker.sock"]


def _cause(problem: Exception) -> str:
    """What went wrong at the bottom, without the layers of the libraries."""
    if isinstance(problem, APIError):
        return str(problem.explanation or problem)
    cause: BaseException = problem
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__ or cause
    return (cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)) or type(cause).__name__


def _follow(steps: Iterator[Mapping[str, Any]], log: list[str], on_line: Callable[[str], None]) -> str:
    """Read a build's log to its end. Returns the engine's own word on its failure, "" for none."""
    failure = ""
    for step in steps:
        failure = str(step.get("error", failure))
        text = str(step.get("stream") or step.get("error") or "")
        for line in filter(None, (each.rstrip() for each in text.splitlines())):
            log.append(line)
            on_line(line)
    return failure
