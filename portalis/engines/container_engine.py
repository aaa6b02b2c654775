"""A connection to a container engine, Docker or Podman, through the HTTP API that both implement."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..atomic_files import replacing
from ..spec.container import ContainerRuntime
from .confinement import Confinement, EngineCapabilities
from .containers import Container, start_container
from .errors import EngineUnavailable
from .image import Image, check_archive, read_image
from .image_build import run_build
from .podman import PODMAN_NAME, image_health_check
from .pushing import push_image
from .sdk import ENGINE_ERRORS, connect, engine_cause, engine_errors, ignore_not_found

_VARIABLES = {ContainerRuntime.Docker: ("DOCKER_HOST",), ContainerRuntime.Podman: ("CONTAINER_HOST", "DOCKER_HOST")}
_START = {
    ContainerRuntime.Docker: "Start Docker (`systemctl start docker`), or set DOCKER_HOST to its address.",
    ContainerRuntime.Podman: "Start Podman's service (`systemctl --user start podman.socket`), or set CONTAINER_HOST.",
}


class ContainerEngine:
    """A connection to an engine. Close it, or use it with ``with``. Its methods raise EngineFailed."""

    def __init__(self, client: Any, address: str) -> None:
        self._client = client
        self.address = address
        with engine_errors("cannot read the engine's version", address):
            version = client.version()
        names = [str(component.get("Name", "")) for component in version.get("Components") or ()]
        self._name = names[0] if names else "Engine"
        self._version = str(version.get("Version", "?"))

    @classmethod
    def find(
        cls, runtime: ContainerRuntime = ContainerRuntime.Docker, environment: Mapping[str, str] = os.environ
    ) -> ContainerEngine:
        """Connect to the engine that the environment names, else to the one at the default addresses of `runtime`.
        Raises EngineUnavailable, which lists the addresses and their errors."""
        failures = []
        for address in _addresses(runtime, environment):
            try:
                client = connect(address, environment)
            except ENGINE_ERRORS as error:
                failures.append(f"{address}: {engine_cause(error)}")
            else:
                return cls(client, address)
        raise EngineUnavailable(
            f"cannot connect to a {runtime} engine ({'; '.join(failures)})",
            remediation=_START[ContainerRuntime(runtime)],
        )

    def version(self) -> str:
        """Name and version of the engine, for messages."""
        return f"{self._name} {self._version}"

    @property
    def is_podman(self) -> bool:
        """Whether the engine is Podman. DOCKER_HOST can point to it too."""
        return self._name == PODMAN_NAME

    def has_bridge(self) -> bool:
        """Whether the engine has a bridge network. Without one, containers share the host's network."""
        with engine_errors("cannot list the engine's networks", self.address):
            return any(network.get("Driver") == "bridge" for network in self._client.networks())

    def build_network(self, *, offline: bool) -> str | None:
        """The network for the steps of a build: ``none`` if `offline` (the context has all that the build needs), else
        None for the engine's default, or ``host`` if the engine has no bridge network."""
        return "none" if offline else None if self.has_bridge() else "host"

    def capabilities(self) -> EngineCapabilities:
        """The resource limits that the engine can enforce, and its CPUs and GPUs."""
        with engine_errors("cannot read the engine's capabilities", self.address):
            info = self._client.info()
        return EngineCapabilities(
            memory_limit=bool(info.get("MemoryLimit")),
            # Docker's key, and Podman's
            cpu_limit=bool(info.get("CpuCfsQuota") or info.get("CPUCfsQuota")),
            cpus=int(info.get("NCPU") or 0),
            gpus="nvidia" in (info.get("Runtimes") or {}),
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
        """Build the context in `folder` as `reference` (``name:tag``). `on_line` receives each line of the log.

        `network` is the network of the build's steps, as `build_network` returns it. Raises EngineFailed or
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
        """The image named `reference`. Raises EngineFailed if it does not exist."""
        with engine_errors(f"cannot inspect the image {reference}", self.address):
            image = read_image(self._client.inspect_image(reference), self._client.history(reference))
            if self.is_podman:
                check = image_health_check(self._client, reference)
                image = replace(image, config={**image.config, "Healthcheck": check})
        return image

    def save(self, reference: str, file: Path) -> int:
        """Export the image to the tar archive `file`, in the format of ``docker save``, and check that it is complete.
        Returns its size in bytes. If the export fails, `file` stays as it was."""
        image_id = self.inspect(reference).image_id
        with engine_errors(f"cannot export {reference}", self.address), replacing(file) as temporary:
            with temporary.open("wb") as archive:
                size = sum(archive.write(chunk) for chunk in self._client.get_image(reference))
            check_archive(temporary, image_id)
        return size

    def load(self, file: Path) -> None:
        """Load the images of an archive that `save` wrote."""
        with engine_errors(f"cannot load {file}", self.address), file.open("rb") as archive:
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
        """Push the image `reference` to a registry as ``repository:tag``. `login` has ``username`` and ``password``, or
        ``identitytoken``. `plain_http` allows Podman to connect without TLS; for Docker this is a setting of the
        daemon."""
        push_image(
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
        """Remove the image if it exists."""
        with engine_errors(f"cannot remove {reference}", self.address), ignore_not_found():
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
        """Start a container. `ports` maps ports of the container to ports of the loopback interface. The image's health
        check, if any, runs every `health_interval_s`. A ``with`` block removes the container."""
        return start_container(
            self._client,
            self.address,
            reference,
            confinement,
            environment=environment or {},
            network=network,
            ports=ports or {},
            has_health_check=bool(self.inspect(reference).config.get("Healthcheck")),
            health_interval_s=health_interval_s,
            by_podman=self.is_podman,
        )

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def __enter__(self) -> ContainerEngine:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _addresses(runtime: ContainerRuntime, environment: Mapping[str, str]) -> list[str]:
    configured = [environment[name] for name in _VARIABLES[runtime] if environment.get(name)]
    if configured:
        return configured[:1]  # a configured engine is never replaced by another one
    folder = environment.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    if runtime is ContainerRuntime.Podman:
        return [f"unix://{folder}/podman/podman.sock", "unix:///run/podman/podman.sock"]
    return ["unix:///var/run/docker.sock", f"unix://{folder}/docker.sock"]
