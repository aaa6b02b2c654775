"""The packaging target: API documents for the services and models of a package, and guides for what was made of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from ..contracts.documents import ApiDocumentation, DocumentFormat, IntegrationGuide
from ..contracts.errors import ErrorType
from ..contracts.output import Artifacts, ValidationResult
from ..errors import PortalisError
from ..output import OutputTree
from ..problems import Problem
from ..spec import PackageSpec
from ..spec.package_spec import ApiDocFormat
from ..target import Job, StageError, TargetResult
from . import openapi
from .api_models import ApiModel, is_in_image, service_model, triton_models
from .formats import missing_formats
from .guides import guides
from .markdown import page
from .outline import outline
from .proto_file import SHARED, TEMPLATES, file_name, models_proto
from .protoc import descriptor_set

FOLDER = PurePosixPath("docs")


def skip_reason(spec: PackageSpec) -> str | None:
    """Why there are no documents."""
    if spec.enable_nim_packaging or spec.enable_triton_integration:
        return None
    return "enable_nim_packaging and enable_triton_integration are false, and there is no API to document"


def spec_problems(spec: PackageSpec) -> Iterable[Problem]:
    """Nothing: every name has a form that the documents can hold."""
    return ()


def generate(job: Job) -> TargetResult:
    """The documents that the spec asks for. What cannot be made is an error beside the others."""
    tree = OutputTree()
    documents: list[ApiDocumentation] = []
    errors: list[StageError] = []
    results: list[ValidationResult] = []
    on_triton = triton_models(job)
    spec = job.spec
    if spec.generate_api_docs and spec.enable_nim_packaging and spec.api_doc_format is not ApiDocFormat.GRPC:
        described, undescribed = _service_models(job)
        errors += undescribed
        documents += _openapi(job, tree, described)
    if spec.generate_api_docs and on_triton and spec.api_doc_format is not ApiDocFormat.OpenAPI:
        try:
            documents.append(_grpc(job, tree, on_triton, errors, results))
        except ValueError as problem:
            errors.append(_error(str(problem), 'Ask for api_doc_format = "OpenAPI" only.'))
    missing = missing_formats(spec, {each.format for each in documents}, triton=bool(on_triton))
    if missing and not documents and not errors:  # none of what was asked for
        errors += (_error(each.message, each.remediation) for each in missing)
    found = Artifacts(
        api_documentation=tuple(documents), integration_guides=tuple(_guides(job, tree, on_triton, documents))
    )
    if not found.total_artifacts_count() and not errors:
        return TargetResult(skipped="nothing was made whose API could be described")
    return TargetResult(
        tree=tree,
        artifacts=found,
        errors=tuple(errors),
        warnings=tuple(missing),
        validation_results=tuple(results),
    )


def run(job: Job, made: TargetResult) -> TargetResult:
    """Nothing more is to be done."""
    return made


def _service_models(job: Job) -> tuple[list[ApiModel], list[StageError]]:
    models, errors = [], []
    for module in job.modules:
        model = service_model(module)
        if model is not None and not is_in_image(job.spec, module):
            continue  # said by the stage that makes images
        if model is not None:
            models.append(model)
            continue
        why = module.inspection.no_interface or "it has no interface"
        message = f"the API of module {module.name!r} cannot be described: {why}"
        errors.append(_error(message, f"Declare it: wasm_binaries[].interface of {module.name!r} in the spec."))
    return models, errors


def _openapi(job: Job, tree: OutputTree, models: list[ApiModel]) -> Iterator[ApiDocumentation]:
    """The document in OpenAPI 3.0.3, which most tools read, and in 3.1, as the service itself gives it out."""
    if not models:
        return
    newest = openapi.document(job.spec, models)
    for name, document in (("openapi.json", openapi.for_3_0(newest)), ("openapi-3.1.json", newest)):
        path = tree.text(FOLDER / name, openapi.written(document))
        yield ApiDocumentation(format=ApiDocFormat.OpenAPI, file_path=job.final(path), openapi_spec=outline(document))


def _grpc(
    job: Job, tree: OutputTree, models: tuple[ApiModel, ...], errors: list[StageError], results: list[ValidationResult]
) -> ApiDocumentation:
    """The .proto files, and their descriptors where protoc is here. Raises ValueError."""
    folder, name = FOLDER / "grpc", file_name(job.spec.package_name)
    files = {name: models_proto(job.spec.package_name, models)}
    files |= {each: (TEMPLATES / each).read_text(encoding="utf-8") for each in SHARED}
    for each, text in files.items():
        tree.text(folder / each, text)
    descriptor = None
    try:
        descriptor = tree.add(folder / name.replace(".proto", ".pb"), descriptor_set(files, name))
        results.append(ValidationResult(name=name, check="protoc", valid=True, report="compiled"))
    except PortalisError as problem:
        errors.append(_error(problem.message, problem.remediation))
    return ApiDocumentation(
        format=ApiDocFormat.GRPC,
        file_path=job.final(folder / name),
        grpc_proto=job.final(folder / name),
        grpc_descriptor=job.final(descriptor) if descriptor is not None else None,
    )


def _guides(
    job: Job, tree: OutputTree, models: tuple[ApiModel, ...], documents: list[ApiDocumentation]
) -> Iterator[IntegrationGuide]:
    for guide in guides(job, models, documents):
        html = page(guide.text, guide.title)
        for kind, ending, text in ((DocumentFormat.Markdown, "md", guide.text), (DocumentFormat.HTML, "html", html)):
            path = tree.text(FOLDER / f"{guide.name}.{ending}", text)
            yield IntegrationGuide(
                title=guide.title, format=kind, file_path=job.final(path), content_sections=guide.sections
            )


def _error(message: str, remediation: str) -> StageError:
    return StageError(ErrorType.DocumentationError, message, remediation=remediation)
