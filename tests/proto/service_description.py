"""The description that the real service application gives of itself.

``python -m tests.proto.service_description`` writes it to ``proto/templates/service.json``; the tests compare.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from portalis.nim.service.app import create_app
from portalis.nim.service.settings import ModelSettings, ServiceSettings
from portalis.proto.openapi import SERVICE_DOCUMENT


def described() -> dict[str, Any]:
    """Without the framework's own answer to bad parameters (422): the application gives 400 in its own envelope."""
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
