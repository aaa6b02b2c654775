"""The formats of API documents that a spec asks for, and those of them that a package has nothing for."""

from __future__ import annotations

from collections.abc import Collection

from ..contracts.output import PackagingWarning, WarningSeverity
from ..spec import PackageSpec
from ..spec.package_spec import ApiDocFormat

_OPENAPI, _GRPC = ApiDocFormat.OpenAPI, ApiDocFormat.GRPC


def missing_formats(spec: PackageSpec, made: Collection[ApiDocFormat], *, triton: bool) -> list[PackagingWarning]:
    """A warning for each format that ``api_doc_format`` asks for and that is not `made`, with what to do; `triton` says
    whether there are Triton models. None where the key is not given: then a package has the formats that it can."""
    if not spec.generate_api_docs or "api_doc_format" not in spec.model_fields_set:
        return []
    wanted = (_OPENAPI, _GRPC) if spec.api_doc_format is ApiDocFormat.Both else (spec.api_doc_format,)
    return [_missing(spec, each, triton) for each in wanted if each not in made]


def _missing(spec: PackageSpec, kind: ApiDocFormat, triton: bool) -> PackagingWarning:
    if kind is _OPENAPI:
        name, of, there = "OpenAPI", "service images", True  # it is made of modules, with an engine or without
        key, enabled, other = "enable_nim_packaging", spec.enable_nim_packaging, _GRPC
    else:
        name, of, there = "gRPC", "Triton models", triton
        key, enabled, other = "enable_triton_integration", spec.enable_triton_integration, _OPENAPI
    why = f"{key} is false" if not enabled else "the tensors of none are known" if there else "none was made"
    instead = "" if enabled else f", or set {key} to true"
    return PackagingWarning(
        message=f"no {name} document was made: it describes {of}, and {why}",
        severity=WarningSeverity.Medium,
        remediation=f'Set api_doc_format to "{other}"{instead}.',
    )
