"""Builds the Triton image with the `wasm` backend, and smoke tests it with a module as its only model."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...engines.build_context import BuildContext
from ...engines.confinement import ANY_USER, Confinement
from ...engines.errors import EngineFailed
from ...engines.image import Image
from ...images import TRITON_IMAGE
from ...spec.container import VolumeMount

if TYPE_CHECKING:
    from ...engines.container_engine import ContainerEngine

_READY_S = 180.0
_POLL_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonImage:
    """The built image."""

    image: Image
    seconds: float
    """Duration of the build."""
    smoke_test: str | None
    """A description of the smoke test; None if it was skipped."""


def build_triton(
    engine: ContainerEngine,
    context: BuildContext,
    *,
    offline: bool,
    timeout_s: float,
    module: Path | None,
    on_line: Callable[[str], None],
) -> TritonImage:
    """Build the image from `context`, without a network if `offline`, and smoke test it.

    The test has `module` as its only model; it is skipped if that is None. Raises EngineFailed with the log.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        context.write_to(Path(folder))
        network = engine.build_network(offline=offline)
        image = engine.build(
            Path(folder),
            TRITON_IMAGE,
            arguments=context.arguments,
            timeout_s=timeout_s,
            network=network,
            on_line=on_line,
        )
    seconds = time.monotonic() - began
    report = None if module is None else _smoke_test(engine, image, module)
    return TritonImage(image=image, seconds=seconds, smoke_test=report)


def _smoke_test(engine: ContainerEngine, image: Image, module: Path) -> str:
    """Start a container and stop it once it is healthy.

    Triton is ready only after it has loaded its models, so a healthy container has run the backend.
    """
    if not image.config.get("Healthcheck"):
        raise EngineFailed(f"{TRITON_IMAGE} has no health check", remediation="Build it in Docker format.")
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder)
        repository.chmod(0o755)  # the container runs as a different user
        version = repository / f"{module.stem}.wasm" / "1"
        version.mkdir(parents=True)
        shutil.copyfile(module, version / "model.wasm")
        models = VolumeMount(host_path=folder, container_path="/models")
        confinement = Confinement(user=ANY_USER, volumes=(models,), tmpfs=("/tmp",))  # noqa: S108 (in the container)
        began = time.monotonic()
        # the health check runs in the container, so it needs only a loopback network
        with engine.start(TRITON_IMAGE, confinement, network="none") as container:
            while (state := container.state()).get("Health", {}).get("Status") != "healthy":
                if state.get("Status") not in ("created", "running") or time.monotonic() - began > _READY_S:
                    raise EngineFailed(
                        f"a container of {TRITON_IMAGE} is not healthy: {state.get('Status')}",
                        remediation="See the server's log above.",
                        log=container.log(),
                    )
                time.sleep(_POLL_S)
            healthy_after_s, status = time.monotonic() - began, container.stop()
            if status:
                raise EngineFailed(
                    f"a container of {TRITON_IMAGE} ended with exit status {status} on SIGTERM",
                    remediation="See the server's log above.",
                    log=container.log(),
                )
    return (
        f"healthy after {healthy_after_s:.1f} s with {module.stem} as a model; ended with exit status 0 on SIGTERM;"
        f" run with {confinement.describe()}"
    )
