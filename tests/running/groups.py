"""Groups of tests that one worker runs sequentially, and the order in which groups are assigned to workers.

Each file is a group, so that its fixtures are set up once. Files that share an expensive resource form one group.

Tests with servers and engines mostly wait; other tests mostly compute. One worker starts with the groups that wait, the
other with the groups that compute, the long ones first. They meet at the short groups, so that both processors are busy
and neither ends with a long group.
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# fixtures that start a real part, and the markers of the tests that use them
NEEDS = {
    "docker": ("engine",),
    "podman": ("engine",),
    "base": ("engine", "triton"),
    "wasm_backends": ("triton",),
    "kit_python": ("kit",),
    "bare_kit": ("kit",),
    "registry_program": ("registry",),
}
ALONE = "alone"  # the marker of tests that must run alone, see `tests.running.turns`
SHARED = {
    "tests/backend/triton/test_faults.py": "many models on one Triton",
    "tests/backend/triton/test_serving.py": "many models on one Triton",
    "tests/nim/triton/test_build_images.py": "the image of Triton",
    "tests/nim/triton/test_image.py": "the image of Triton",
    "tests/nim/triton/test_serving.py": "the image of Triton",
}
# long groups that mostly wait for servers and engines, longest first (a run's summary shows the times)
WAITING = (
    "tests/backend/triton/test_loading.py",
    "tests/portalis/test_tritonserver.py",
    "tests/backend/cases/test_on_triton.py",
    "tests/portalis/test_cli_serve.py",
    "tests/acceptance/test_containers.py",
    "many models on one Triton",
    "tests/model_repository_gen/test_against_triton.py",
    "the image of Triton",
    "tests/nim/test_on_engines.py",
    "tests/model_repository_gen/test_on_triton.py",
    "tests/acceptance/test_scenarios.py",
    "tests/model_repository_gen/test_generated_models.py",
    "tests/portalis/test_cli_build_images.py",
    "tests/portalis/test_cli_run.py",
    "tests/nim/test_image_target.py",
    "tests/nim/service/test_drain.py",
    "tests/portalis/test_cli_demo.py",
    "tests/benchmarks/test_on_triton.py",
    "tests/nim/test_runtime_image.py",
)
# long groups that mostly compute, longest first
COMPUTING = (
    "tests/examples/test_examples.py",
    "tests/backend/cases/test_in_process.py",
    "tests/portalis/inspection/test_size.py",
    "tests/portalis/test_cli_publish.py",
    "tests/portalis/test_cli_package.py",
    "tests/dist/archive/test_writer.py",
    "tests/backend/wasm/test_binary.py",
    "tests/backend/compile/test_compiler.py",
    "tests/portalis/test_cli_annotate.py",
    "tests/dist/verify/test_hostile.py",
    "tests/dist/verify/test_fuzz.py",
    "tests/dist/archive/test_blocks.py",
    "tests/portalis/test_cli_inspect.py",
    "tests/portalis/test_cli_init.py",
)


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Assigns whole groups to workers.

    `--dist loadgroup` of xdist does not work: it writes a group's name into node ids. pytest 9.2 no longer reads it, so that
    xdist distributes single tests without a warning.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)

    def _assign_work_unit(self, node: Any) -> None:
        if self.nodes.index(node) % 2:  # every second worker takes groups from the end
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)


def group_of(nodeid: str) -> str:
    """The name of the test's group."""
    file = nodeid.split("::", maxsplit=1)[0]
    return SHARED.get(file, file)


def arrange(items: list[pytest.Item]) -> None:
    """Mark each test with the parts that it needs, and sort the tests by group."""
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            for marker in NEEDS.get(fixture, ()):
                item.add_marker(marker)
    items.sort(key=lambda item: _position(group_of(item.nodeid)))


def _position(group: str) -> int:
    if group in WAITING:
        return WAITING.index(group) - len(WAITING)
    return len(COMPUTING) - COMPUTING.index(group) if group in COMPUTING else 0
