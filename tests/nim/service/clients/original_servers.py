"""Servers for Triton's own examples: a real Triton and a service, with a server of its own for each example that controls
models and counts them."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from portalis.tritonserver import TritonServer, create_backend_directory
from tests.nim.service.serving import serving

from .example_models import ENSEMBLE_SETTINGS, ExampleModel, all_models, simple_models, write_repository, write_service
from .image_runs import write_images
from .runs import Run
from .target import Target

COUNTED: Final = {"simple_http_model_control": 7, "simple_grpc_model_control": 8}
"""The number of models that these examples expect in the repository."""


def counted_models(count: int) -> dict[str, ExampleModel]:
    """As many models, the first of which is ``simple``."""
    model = simple_models()["simple"]
    return {"simple": model, **{f"other_{number}": model for number in range(1, count)}}


@contextlib.contextmanager
def triton_target() -> Iterator[Callable[[Run], Target]]:
    """Real Tritons; yields a function that returns the server for a run."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        backends = create_backend_directory(Path(folder) / "backends")

        def start(name: str, models: Mapping[str, ExampleModel], ensemble: bool) -> Target:
            repository = Path(folder) / name
            write_repository(repository, models, ensemble=ensemble)
            loaded = () if name in COUNTED else ("--load-model=*",)
            server = TritonServer(repository, backend_directory=backends, model_control="explicit", extra_args=loaded)
            stack.enter_context(server)
            return Target(server.http_url, server.grpc_url, images(Path(folder)))

        yield _chosen(start)


@contextlib.contextmanager
def service_target() -> Iterator[Callable[[Run], Target]]:
    """Services in this process; yields a function that returns the one for a run."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:

        def start(name: str, models: Mapping[str, ExampleModel], ensemble: bool) -> Target:
            modules = Path(folder) / name
            modules.mkdir()
            settings = {
                "name": "triton",
                "ensembles": [ENSEMBLE_SETTINGS] if ensemble else [],
                "model_control": "explicit",
                "load_models": [] if name in COUNTED else ["*"],
            }
            client = stack.enter_context(serving(modules, write_service(modules, models), **settings))
            client.wait_loaded()
            return Target(f"127.0.0.1:{client.port}", f"127.0.0.1:{client.grpc_port}", images(Path(folder)))

        yield _chosen(start)


def images(folder: Path) -> Path:
    """The directory with the images, written once."""
    found = folder / "images"
    if not found.exists():
        found.mkdir()
        write_images(found)
    return found


def _chosen(start: Callable[[str, Mapping[str, ExampleModel], bool], Target]) -> Callable[[Run], Target]:
    targets: dict[str, Target] = {}

    def find(run: Run) -> Target:
        name = run.example if run.example in COUNTED else "all"
        if name not in targets:
            counted = name in COUNTED
            targets[name] = start(name, counted_models(COUNTED[name]) if counted else all_models(), not counted)
        return targets[name]

    return find
