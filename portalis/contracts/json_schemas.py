"""JSON Schemas of the documents that portalis reads and writes."""

from __future__ import annotations

import json
from typing import Final

from pydantic import BaseModel

from ..errors import UsageError
from ..problems import did_you_mean
from ..spec import PackageSpec
from .errors import PackagingError
from .input import PackagingAgentInput
from .output import PackagingAgentOutput
from .package_manifest import PackageManifest

SCHEMAS: Final[dict[str, type[BaseModel]]] = {
    "spec": PackageSpec,
    "input": PackagingAgentInput,
    "output": PackagingAgentOutput,
    "error": PackagingError,
    "manifest": PackageManifest,
}
_READ = ("spec", "input")  # documents that are read allow more forms of a value than those that are written
DRAFT = "https://json-schema.org/draft/2020-12/schema"


def schema_text(name: str) -> str:
    """The schema `name` as JSON text. Raises UsageError for an unknown name."""
    model = SCHEMAS.get(name)
    if model is None:
        raise UsageError(f"unknown schema {name!r}", remediation=did_you_mean(name, list(SCHEMAS)))
    schema = model.model_json_schema(mode="validation" if name in _READ else "serialization")
    return json.dumps({"$schema": DRAFT, **schema}, indent=2, ensure_ascii=False) + "\n"
