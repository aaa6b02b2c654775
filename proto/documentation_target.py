"""The packaging target for documents: API documents of services and models, and guides to images and models."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from ..contracts.documents import ApiDocumentation, DocumentFormat, IntegrationGuide
from ..contracts.errors import ErrorType
from ..contracts.output import Artifacts, PackagingWarning, ValidationResult, WarningSeverity
from ..errors import PortalisError
from ..output import OutputTree
from ..output.package_layout import DOCS
from ..problems import Problem
from ..spec import PackageSpec
from ..spec.package_spec import ApiDocFormat
from ..target import Job, StageError, TargetResult
from .api_models import ApiModel, ensemble_models, is_in_image, service_model, triton_models
from .guides import guides
from .markdown import page
from .openapi import openapi_document, openapi_text, to_openapi_3_0
from .outline import outline
from .proto_file import file_name, models_proto, shared_files
from .protoc import descriptor_set


def skip_reason(spec: PackageSpec) -> str | None:
    """The reason for writing no documents; None if the spec enables something with an API."""
    if spec.enable_nim_packaging or spec.enable_triton_integration:
        return None
    return "enable_nim_packaging and enable_triton_integration are false: no API to document"


def spec_problems(spec: PackageSpec) -> Iterable[Problem]:
    """No problems: every name has a form that is valid in the documents."""
    return ()


def generate(job: Job) -> TargetResult:
    """Write the requested documents. A document that cannot be generated is an error of the result."""
    tree = OutputTree()
    documents: list[ApiDocumentation] = []
    errors: list[StageError] = []
    results: list[ValidationResult] = []
    models, spec = triton_models(job), job.spec
    if spec.generate_api_docs and spec.enable_nim_packaging and spec.api_doc_format is not ApiDocFormat.GRPC:
        service_models, unknown = _service_models(job)
        errors += unknown
        documents += _openapi(job, tree, service_models)
    if spec.generate_api_docs and models and spec.api_doc_format is not ApiDocFormat.OpenAPI:
        try:
            documents.append(_grpc(job, tree, models, errors, results))
        except ValueError as error:
            errors.append(_error(str(error), 'Set api_doc_format = "OpenAPI".'))
    missing = _missing_formats(spec, {each.format for each in documents}, has_models=bool(models))
    if missing and not documents and not errors:  # none of the requested formats
        errors += (_error(each.message, each.remediation) for each in missing)
    artifacts = Artifacts(
        api_documentation=tuple(documents), integration_guides=tuple(_guides(job, tree, models, documents))
    )
    if not artifacts.total_artifacts_count() and not errors:
        return TargetResult(skipped="nothing with an API was generated")
    return TargetResult(
        tree=tree,
        artifacts=artifacts,
        errors=tuple(errors),
        warnings=tuple(missing),
        validation_results=tuple(results),
    )


def run(job: Job, made: TargetResult) -> TargetResult:
    """Return `made`: no external tool is needed."""
    return made


def _service_models(job: Job) -> tuple[list[ApiModel], list[StageError]]:
    models, errors = [], []
    for module in job.modules:
        model = service_model(module)
        if model is not None and not is_in_image(job.spec, module):
            continue  # the stage that builds images reports it
        if model is not None:
            models.append(model)
            continue
        reason = module.inspection.no_interface or "it has no interface"
        message = f"the API of module {module.name!r} cannot be described: {reason}"
        errors.append(_error(message, f"Declare it: wasm_binaries[].interface of {module.name!r} in the spec."))
    models += ensemble_models(job)
    return models, errors


def _openapi(job: Job, tree: OutputTree, models: list[ApiModel]) -> Iterator[ApiDocumentation]:
    """Write the document in OpenAPI 3.0.3, which most tools support, and in 3.1, the version of the service's own."""
    if not models:
        return
    newest = openapi_document(job.spec, models)
    for name, document in (("openapi.json", to_openapi_3_0(newest)), ("openapi-3.1.json", newest)):
        path = tree.text(DOCS / name, openapi_text(document))
        yield ApiDocumentation(format=ApiDocFormat.OpenAPI, file_path=job.final(path), openapi_spec=outline(document))


def _grpc(
    job: Job, tree: OutputTree, models: tuple[ApiModel, ...], errors: list[StageError], results: list[ValidationResult]
) -> ApiDocumentation:
    """Write the .proto files, and their descriptors if protoc is installed. Raises ValueError from `models_proto`."""
    folder, name = DOCS / "grpc", file_name(job.spec.package_name)
    files = {name: models_proto(job.spec.package_name, models)}
    files |= shared_files()
    for each, text in files.items():
        tree.text(folder / each, text)
    descriptor = None
    try:
        descriptor = tree.add(folder / name.replace(".proto", ".pb"), descriptor_set(files, name))
        results.append(ValidationResult(name=name, check="protoc", valid=True, report="compiled"))
    except PortalisError as error:
        errors.append(_error(error.message, error.remediation))
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
        for form, ending, text in ((DocumentFormat.Markdown, "md", guide.text), (DocumentFormat.HTML, "html", html)):
            path = tree.text(DOCS / f"{guide.name}.{ending}", text)
            yield IntegrationGuide(
                title=guide.title, format=form, file_path=job.final(path), content_sections=guide.sections
            )


def _missing_formats(
    spec: PackageSpec, generated: Collection[ApiDocFormat], *, has_models: bool
) -> list[PackagingWarning]:
    """A warning for each format that ``api_doc_format`` requests and that was not generated.

    There is none if the spec does not set the key: then the package gets every format that applies to it. `has_models`:
    whether Triton models were generated.
    """
    if not spec.generate_api_docs or "api_doc_format" not in spec.model_fields_set:
        return []
    both = (ApiDocFormat.OpenAPI, ApiDocFormat.GRPC)
    requested = both if spec.api_doc_format is ApiDocFormat.Both else (spec.api_doc_format,)
    return [_missing_format(spec, each, has_models) for each in requested if each not in generated]


def _missing_format(spec: PackageSpec, missing: ApiDocFormat, has_models: bool) -> PackagingWarning:
    if missing is ApiDocFormat.OpenAPI:
        # it is generated from modules, with or without an engine: if it is missing, their interfaces are unknown
        name, subject, exist = "OpenAPI", "service images", True
        key, enabled, other = "enable_nim_packaging", spec.enable_nim_packaging, ApiDocFormat.GRPC
    else:
        name, subject, exist = "gRPC", "Triton models", has_models
        key, enabled, other = "enable_triton_integration", spec.enable_triton_integration, ApiDocFormat.OpenAPI
    reason = f"{key} is false" if not enabled else "none has known tensors" if exist else "none was generated"
    alternative = "" if enabled else f", or set {key} to true"
    return PackagingWarning(
        message=f"no {name} document was generated: it describes {subject}, and {reason}",
        severity=WarningSeverity.Medium,
        remediation=f'Set api_doc_format to "{other}"{alternative}.',
    )


def _error(message: str, remediation: str) -> StageError:
    return StageError(ErrorType.DocumentationError, message, remediation=remediation)
