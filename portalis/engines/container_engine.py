"""The container engine, Docker or Podman, through the one interface that both have."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..atomic_files import replacing
from ..spec.container import ContainerRuntime
from . import podman
from .confinement import Abilities, Confinement
from .containers import Container, start
from .image import EngineUnavailable, Image, read_image
from .image_archive import check_archive
from .image_build import run_build
from .pushing import push
from .sdk import TROUBLE, cause, connect, telling, unless_gone

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
        with telling("the engine does not tell its version", address):
            told = client.version()
        names = [str(part.get("Name", "")) for part in told.get("Components") or ()]
        self._name = names[0] if names else "Engine"
        self._version = str(told.get("Version", "?"))

    @classmethod
    def find(
        cls, runtime: ContainerRuntime = ContainerRuntime.Docker, environment: Mapping[str, str] = os.environ
    ) -> Engine:
        """The engine that the environment names, else the one at the usual places of `runtime`. Raises
        EngineUnavailable, which says what was tried and what to do."""
        tried = []
        for address in _addresses(runtime, environment):
            try:
                client = connect(address, environment)
            except TROUBLE as problem:
                tried.append(f"{address}: {cause(problem)}")
            else:
                return cls(client, address)
        raise EngineUnavailable(
            f"no {runtime} engine answers ({'; '.join(tried)})", remediation=_START[ContainerRuntime(runtime)]
        )

    def version(self) -> str:
        """Name and version of the engine, for people."""
        return f"{self._name} {self._version}"

    @property
    def is_podman(self) -> bool:
        """Whether it is Podman, whatever it was looked for as."""
        return self._name == podman.ENGINE

    def has_bridge(self) -> bool:
        """Whether containers can have a network of their own here. Without one they share the host's."""
        with telling("the engine does not tell its networks", self.address):
            return any(network.get("Driver") == "bridge" for network in self._client.networks())

    def build_network(self, *, offline: bool) -> str | None:
        """The network of a build's steps, for `build`: none where what it needs lies in its context, else the engine's
        own, or the host's where the engine has none to give."""
        return "none" if offline else None if self.has_bridge() else "host"

    def abilities(self) -> Abilities:
        """What the engine can hold a container to, or give it."""
        with telling("the engine does not tell what it can do", self.address):
            told = self._client.info()
        return Abilities(
            memory_limit=bool(told.get("MemoryLimit")),
            # Podman does not spell it as Docker does
            cpu_limit=bool(told.get("CpuCfsQuota") or told.get("CPUCfsQuota")),
            cpus=int(told.get("NCPU") or 0),
            gpus="nvidia" in (told.get("Runtimes") or {}),
        )

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
        run_build(
            self._client,
            folder,
            reference,
            arguments=arguments or {},
            timeout_s=timeout_s,
            network=network,
            on_line=on_line,
        )
        return self.inspect(reference)

    def inspect(self, reference: str) -> Image:
        """The image called `reference`. Raises EngineFailed when there is none."""
        with telling(f"there is no image {reference}", self.address):
            image = read_image(self._client.inspect_image(reference), self._client.history(reference))
            if self.is_podman:
                check = podman.health_check(self._client, reference)
                image = replace(image, config={**image.config, "Healthcheck": check})
        return image

    def save(self, reference: str, file: Path) -> int:
        """Write the image to the tar archive `file`, as ``docker load`` reads it, and check that it is whole. Returns
        its size in bytes; where it fails, there is no file."""
        image_id = self.inspect(reference).image_id
        with telling(f"cannot export {reference}", self.address), replacing(file) as temporary:
            with temporary.open("wb") as archive:
                size = sum(archive.write(chunk) for chunk in self._client.get_image(reference))
            check_archive(temporary, image_id)
        return size

    def load(self, file: Path) -> None:
        """Take in the images of an archive that `save` has written."""
        with telling(f"cannot load {file}", self.address), file.open("rb") as archive:
            for _ in self._client.load_image(archive):
                pass

    def push(
        self,
        reference: str,
        repository: str,
        tag: str,
        *,
        login: Mapping[str, str] | None = None,
        plain_http: bool = False,
        on_line: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Push the image `reference` to a registry as ``repository:tag``, logged in with `login` (``username`` and
        ``password``, or ``identitytoken``). `plain_http` lets Podman do without TLS; Docker has settings for that.
        Raises EngineFailed."""
        push(
            self._client,
            self.address,
            reference,
            repository,
            tag,
            login=login or {},
            by_podman=self.is_podman,
            plain_http=plain_http,
            on_line=on_line,
        )

    def remove(self, reference: str) -> None:
        """Forget the image, if it is there."""
        with telling(f"cannot remove {reference}", self.address), unless_gone():
            self._client.remove_image(reference, force=True)

    def start(
        self,
        reference: str,
        confinement: Confinement,
        *,
        environment: Mapping[str, str] | None = None,
        network: str | None = None,
        ports: Mapping[int, int] | None = None,
        health_interval_s: float = 1,
    ) -> Container:
        """Start a container. `ports` maps ports of the container to ports of loopback; a health check of the image is
        made every `health_interval_s`. Use the container with ``with``, which removes it."""
        return start(
            self._client,
            self.address,
            reference,
            confinement,
            environment=environment or {},
            network=network,
            ports=ports or {},
            checked=bool(self.inspect(reference).config.get("Healthcheck")),
            health_interval_s=health_interval_s,
            by_podman=self.is_podman,
        )

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
