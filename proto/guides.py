"""Guides to the images and models of a package: how to serve them, and an example request for each model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from ..contracts.artifacts import ContainerArtifact
from ..contracts.documents import ApiDocumentation
from ..engines.engine_commands import load_command, run_command, shell_line
from ..images import planned_image
from ..markup import markdown, markdown_code
from ..spec import PackageSpec
from ..spec.package_spec import ApiDocFormat
from ..spec.triton import TritonPlatform
from ..target import Job, Module
from ..templates import render
from .api_models import ApiModel, ApiTensor, ensemble_models, is_in_image, service_model
from .example_request import example_request, example_value
from .markdown import TEMPLATES, block, python, shell

_FILTERS = (markdown, markdown_code, block, shell, python)
_BINARY_ONLY = ("FP16", "BF16")  # Triton transfers these in binary form only
_NUMPY = {"BOOL": "bool", "FP16": "np.float16", "BF16": "np.float32", "FP32": "np.float32", "FP64": "np.float64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Guide:
    """A guide in Markdown."""

    name: str
    title: str
    text: str

    @property
    def sections(self) -> tuple[str, ...]:
        """The headings of the second level."""
        return tuple(re.findall(r"^## (.+)$", self.text, re.MULTILINE))


def guides(job: Job, models: Iterable[ApiModel], documents: Iterable[ApiDocumentation]) -> tuple[Guide, ...]:
    """The guides for `job.artifacts`. `models` are the models on Triton, `documents` the package's API documents."""
    result = []
    if job.artifacts.triton_models:
        result.append(_triton(job.spec, tuple(models)))
    if job.artifacts.nim_containers:
        result.append(_containers(job, documents))
    return tuple(result)


def _triton(spec: PackageSpec, models: tuple[ApiModel, ...]) -> Guide:
    platforms = {spec.triton_for(module).platform for module in spec.wasm_binaries}
    repository = str(spec.triton_config.model_repository_path)
    wasm = TritonPlatform.WasmABI in platforms
    install = "portalis install-backend /opt/tritonserver/backends\n" if wasm else ""
    title = f"{spec.package_name} {spec.package_version} on Triton"
    text = render(
        TEMPLATES,
        "triton.md.j2",
        _FILTERS,
        title=title,
        description=spec.description,
        models=models,
        batches=any(model.max_batch_size for model in models),
        all_batch=all(model.max_batch_size for model in models),
        repository=repository,
        wasm=wasm,
        python_models=TritonPlatform.Python in platforms,
        has_serve_command=all(isinstance(platform, TritonPlatform) for platform in platforms),
        install=f"{install}tritonserver --model-repository={shell(repository)}",
        calls=[{"model": model, "python": _grpc_call(model), "curl": _http_call(model)} for model in models],
    )
    return Guide(name="triton", title=title, text=text)


def _grpc_call(model: ApiModel) -> str:
    outputs = [tensor.name for tensor in model.outputs]
    return render(
        TEMPLATES, "triton_client.py.j2", _FILTERS, model=model, outputs=outputs, sample=_sample, dtype=_dtype
    )


def _sample(tensor: ApiTensor) -> object:
    value = example_value(tensor.datatype)
    return value.encode() if isinstance(value, str) else value


def _dtype(tensor: ApiTensor) -> str:
    if tensor.datatype == "BYTES":
        return "object"
    return _NUMPY.get(tensor.datatype, f"np.{tensor.datatype.lower()}")


def _http_call(model: ApiModel) -> str:
    if any(tensor.datatype in _BINARY_ONLY for tensor in (*model.required_inputs, *model.outputs)):
        return ""
    return _curl(model, f"http://localhost:8000/v2/models/{quote(model.name, safe='')}/infer")


def _curl(model: ApiModel, url: str) -> str:
    """A request as a curl command; "" if the request is too long to read."""
    request = example_request(model)
    if request is None:
        return ""
    body = json.dumps(request)  # in ASCII, for any names
    return f"curl --globoff {shell(url)} \\\n  --header 'Content-Type: application/json' \\\n  --data {shell(body)}"


def _containers(job: Job, documents: Iterable[ApiDocumentation]) -> Guide:
    spec = job.spec
    title = f"{spec.package_name} {spec.package_version} in containers"
    text = render(
        TEMPLATES,
        "containers.md.j2",
        _FILTERS,
        title=title,
        description=spec.description,
        containers=[_container(job, each) for each in job.artifacts.nim_containers],
        service_port=spec.container_config.service_port,
        grpc_port=spec.container_config.grpc_port,
        metrics_port=spec.container_config.metrics_port,
        documented=any(each.format is ApiDocFormat.OpenAPI for each in documents),
    )
    return Guide(name="containers", title=title, text=text)


def _container(job: Job, artifact: ContainerArtifact) -> dict[str, object]:
    config = job.spec.container_config
    port = config.service_port
    models = [model for module in _image_modules(job, artifact) if (model := service_model(module)) is not None]
    models += ensemble_models(job)
    image = artifact.reference
    archive = artifact.image_archive_path
    load = ""
    if archive is not None:
        load = shell_line(load_command(config.runtime, PurePosixPath(_relative(Path(archive), job.output))))
    return {
        "image": image,
        "models": [
            {
                "name": model.name,
                "infer": _curl(model, f"http://localhost:{port}/v1/models/{quote(model.name, safe='')}/infer"),
            }
            for model in models
        ],
        "load": load,
        "run": shell_line(run_command(config, image)),
        "health": f"curl --fail http://localhost:{port}{shell(artifact.health_check_config.endpoint)}",
    }


def _image_modules(job: Job, artifact: ContainerArtifact) -> tuple[Module, ...]:
    """The modules in the image of `artifact`."""
    if job.spec.container_config.package_image:
        return tuple(module for module in job.modules if is_in_image(job.spec, module))
    return tuple(each for each in job.modules if planned_image(job.spec, each.binary).name == artifact.image_name)


def _relative(path: Path, folder: Path) -> Path:
    return path.relative_to(folder) if path.is_relative_to(folder) else path
