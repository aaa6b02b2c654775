"""Which tests one worker runs one after the other, and in which order the groups are given out.

A file is a group of its own, so that its fixtures are made once; files that share something dear are one group. Long groups
come first: no worker is left with one at the end.
"""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadScopeScheduling

# a fixture that starts a real part marks each test that uses it
NEEDS = {
    "docker": ("engine",),
    "podman": ("engine",),
    "base": ("engine", "triton"),
    "wasm_backends": ("triton",),
    "kit_python": ("kit",),
    "bare_kit": ("kit",),
    "registry_program": ("registry",),
}
ALONE = "alone"  # the marker of tests that no other may run beside, see `tests.running.turns`
SHARED = {
    "tests/backend/triton/test_faults.py": "many models on one Triton",
    "tests/backend/triton/test_serving.py": "many models on one Triton",
    "tests/nim/triton/test_build_images.py": "the image of Triton",
    "tests/nim/triton/test_image.py": "the image of Triton",
    "tests/nim/triton/test_serving.py": "the image of Triton",
}
# the groups of more than ten seconds, longest first (the times are in the summary of a run)
LONGEST = (
    "tests/model_repository_gen/test_against_triton.py",
    "many models on one Triton",
    "tests/backend/triton/test_loading.py",
    "tests/portalis/test_tritonserver.py",
    "tests/portalis/test_cli_serve.py",
    "tests/acceptance/test_containers.py",
    "tests/portalis/inspection/test_size.py",
    "tests/portalis/test_cli_publish.py",
    "tests/nim/engines/test_engine.py",
    "tests/acceptance/test_scenarios.py",
    "tests/model_repository_gen/test_on_triton.py",
    "tests/portalis/test_cli_package.py",
    "tests/portalis/test_cli_annotate.py",
    "tests/portalis/test_cli_inspect.py",
    "tests/portalis/test_cli_init.py",
    "tests/portalis/test_cli_run.py",
    "tests/portalis/test_cli_build_images.py",
    "tests/model_repository_gen/test_generated_models.py",
    "the image of Triton",
    "tests/examples/test_examples.py",
)


class ByGroup(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives whole groups to workers. (xdist's own `--dist loadgroup` writes a name into node ids, which pytest 9.2 does not
    read any more: it distributes single tests then, without a word.)"""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def group_of(nodeid: str) -> str:
    """The group of a test."""
    file = nodeid.split("::", maxsplit=1)[0]
    return SHARED.get(file, file)


def arrange(items: list[pytest.Item]) -> None:
    """Mark each test with what it needs, and put the groups in order."""
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            for marker in NEEDS.get(fixture, ()):
                item.add_marker(marker)
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(group_of(item.nodeid), len(rank)))
