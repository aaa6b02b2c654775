"""The OpenAPI document of the real service.

``python -m tests.proto.service_description`` writes it to ``proto/templates/service.json``; a test compares them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from portalis.nim.service.app import create_app
from portalis.nim.service.settings import ModelSettings, ServiceSettings
from portalis.proto.openapi import SERVICE_DOCUMENT


def described() -> dict[str, Any]:
    """Remove the framework's response to invalid parameters (422): the service responds with 400 and its own error format."""
    settings = ServiceSettings(name="service", models=(ModelSettings(name="model", file="model.wasm"),))
    found: dict[str, Any] = create_app(settings, Path()).openapi()
    for path in found["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        found["components"]["schemas"].pop(name, None)
    return found


def text() -> str:
    return json.dumps(described(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SERVICE_DOCUMENT.write_text(text(), encoding="utf-8")
