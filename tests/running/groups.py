"""Which tests one worker runs one after the other, and in which order the groups are given out.

A file is a group of its own, so that its fixtures are made once; files that share something dear are one group. Most of the time
of tests with servers and engines is spent waiting, and that of others computing. So one worker begins with the former, the other
with the latter, the long groups first, and they meet among the short ones: both processors are busy, and none is left with a long
group at the end.
"""

from __future__ import annotations

from typing import Any

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
# the long groups that wait for servers and engines, longest first (the times are in the summary of a run)
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
# the long groups that compute, longest first
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


class ByGroup(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives whole groups to workers. (xdist's own `--dist loadgroup` writes a name into node ids, which pytest 9.2 does not
    read any more: it distributes single tests then, without a word.)"""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)

    def _assign_work_unit(self, node: Any) -> None:
        if self.nodes.index(node) % 2:  # from the end of the groups
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)


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
    items.sort(key=lambda item: _place(group_of(item.nodeid)))


def _place(group: str) -> int:
    if group in WAITING:
        return WAITING.index(group) - len(WAITING)
    return len(COMPUTING) - COMPUTING.index(group) if group in COMPUTING else 0
