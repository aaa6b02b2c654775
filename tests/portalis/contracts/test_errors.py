"""The error contract (requirements 4.3), warnings (5.2), and the manifest, against their schemas."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from portalis.contracts.errors import (
    ArchiveCreationError,
    ErrorContext,
    ErrorType,
    NimGenerationError,
    OmniversePackagingError,
    PackagingError,
    PackagingStage,
    PublishingError,
    RemediationSuggestion,
    TritonConfigError,
)
from portalis.contracts.json_schemas import schema_text
from portalis.contracts.output import PackagingWarning, Status, WarningSeverity
from portalis.errors import UsageError

SCHEMA = jsonschema.Draft202012Validator(json.loads(schema_text("error")))
DETAILS: list[tuple[Any, set[str]]] = [
    (NimGenerationError(failed_containers=("a",)), {"failed_containers", "docker_errors", "build_logs"}),
    (TritonConfigError(failed_models=("a",)), {"failed_models", "config_errors", "validation_errors"}),
    (OmniversePackagingError(incompatible_modules=("a",)), {"incompatible_modules", "validation_errors"}),
    (ArchiveCreationError(io_errors=("full",)), {"failed_archives", "io_errors"}),
    (PublishingError(registry_url="r", auth_error="no"), {"registry_url", "auth_error", "push_errors"}),
    (None, set()),
]
CONTEXT: dict[str, Any] = {"pipeline_id": "run-7", "timestamp": "2025-01-02T03:04:05Z"}


def error(kind: ErrorType, details: Any, stage: PackagingStage) -> PackagingError:
    return PackagingError(
        error_type=kind,
        message="it failed",
        context=ErrorContext(stage=stage, **CONTEXT),
        remediation=RemediationSuggestion(summary="fix it", steps=("one", "two")),
        details=details,
    )


@pytest.mark.parametrize("kind", ErrorType)
@pytest.mark.parametrize(("details", "keys"), DETAILS, ids=lambda each: type(each).__name__)
def test_an_error_of_every_type_with_every_details_is_valid_and_survives(
    kind: ErrorType, details: Any, keys: set[str]
) -> None:
    made = error(kind, details, PackagingStage.Publishing)
    data = json.loads(made.model_dump_json())
    SCHEMA.validate(data)
    assert set(data["details"] or {"kind"}) == keys | {"kind"}
    assert PackagingError.model_validate_json(json.dumps(data)) == made


@pytest.mark.parametrize("stage", PackagingStage)
def test_an_error_may_come_from_every_stage(stage: PackagingStage) -> None:
    data = json.loads(error(ErrorType.IOError, None, stage).model_dump_json())
    SCHEMA.validate(data)
    assert data["context"] == {**CONTEXT, "agent": "PackagingAgent", "stage": stage.value}


def test_the_words_are_those_of_the_requirements() -> None:
    assert [each.value for each in ErrorType] == [
        "ContainerBuildError",
        "TritonConfigError",
        "OmniverseCompatibilityError",
        "ArchiveError",
        "DocumentationError",
        "PublishingError",
        "ValidationError",
        "IOError",
    ]
    assert {
        "NimGeneration",
        "TritonConfiguration",
        "OmniversePackaging",
        "DocumentationGeneration",
        "ArchiveCreation",
        "Publishing",
    } <= {each.value for each in PackagingStage}
    assert [each.value for each in WarningSeverity] == ["High", "Medium", "Low"]
    assert [each.value for each in Status] == ["success", "partial_success", "failure"]


@pytest.mark.parametrize(
    "changes",
    [
        {"error_type": "SomeError"},
        {"more": 1},
        {"context": {**CONTEXT, "agent": "Other", "stage": "Publishing"}},
        {"context": {**CONTEXT, "timestamp": "yesterday", "stage": "Publishing"}},
        {"details": {"kind": "TritonConfigError", "io_errors": []}},
        {"details": {"kind": "PublishingError"}},
    ],
)
def test_what_is_no_error_of_the_contract_is_refused_by_schema_and_reader(changes: dict[str, Any]) -> None:
    data = json.loads(error(ErrorType.IOError, None, PackagingStage.Publishing).model_dump_json()) | changes
    assert not SCHEMA.is_valid(data)
    with pytest.raises(ValidationError):
        PackagingError.model_validate_json(json.dumps(data))


def test_a_warning_has_message_severity_and_remediation() -> None:
    warning = PackagingWarning(message="m", severity=WarningSeverity.Medium, remediation="r")
    assert json.loads(warning.model_dump_json()) == {"message": "m", "severity": "Medium", "remediation": "r"}


def test_an_unknown_schema_is_reported_with_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        schema_text("manifst")
    assert caught.value.remediation == "Did you mean 'manifest'?"
