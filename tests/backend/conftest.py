"""Both executors of a plan, for every test that runs a guest through `Program`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from portalis.backend.executor import executor_factory as loaded
from tests import parts

EXECUTORS = ("python", "core")


@pytest.fixture(scope="module", params=EXECUTORS)
def executor(request: pytest.FixtureRequest) -> Iterator[str]:
    """Selects the executor of the programs that a test loads, also in processes that it starts.

    A file declares ``pytestmark = pytest.mark.usefixtures("executor")``, and module fixtures that load a program
    request it.
    """
    name: str = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PORTALIS_EXECUTOR", name)
        loaded.native_core.cache_clear()
        found = loaded.native_core() is not None
        if not found and name == "core" and not parts.required():
            pytest.skip("the executor core is not built for this machine: .ci/native")
        assert found == (name == "core"), "the wrong executor would run"
        yield name
    loaded.native_core.cache_clear()
