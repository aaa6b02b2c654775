"""The attacks on the runtime are made on both of its executors."""

from __future__ import annotations

from tests.backend.conftest import executor

__all__ = ["executor"]
