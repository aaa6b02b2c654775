"""Changes of shared memory regions in all workers, with the registries of two in this process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from portalis.nim.service.codec.parsed_request import RegionSlice
from portalis.nim.service.peers.channel import Channel
from portalis.nim.service.peers.worker_link import WorkerLink
from portalis.nim.service.shared_memory import RegionChanges, RegionRegistry
from portalis.nim.service.workers.region_broadcast import RegionBroadcast
from portalis.nim.service.workers.worker import Worker
from tests.nim.service.shared_memory.shared_objects import SharedObject, shared_object

Registries = Callable[[int], RegionRegistry]


@pytest.fixture
def key() -> Iterator[SharedObject]:
    with shared_object(8) as found:
        yield found


@pytest.fixture
def registry() -> Iterator[Registries]:
    """Creates registries, which are closed at the end."""
    with contextlib.ExitStack() as stack:

        def create(max_regions: int) -> RegionRegistry:
            created = RegionRegistry(max_regions)
            stack.callback(created.close)
            return created

        yield create


@contextlib.contextmanager
def workers(*registries: RegionRegistry) -> Iterator[list[Worker]]:
    """Workers with these registries; they have no process."""
    with contextlib.ExitStack() as stack:
        found = []
        for number, registry in enumerate(registries, 1):
            ours, theirs = map(stack.enter_context, socket.socketpair())
            link, process = WorkerLink(number), None
            RegionChanges(registry, link)
            worker = Worker(number, process, listens_at_once=True)  # type: ignore[arg-type]
            worker.channel = Channel(ours, {}, lambda: None, "worker")
            for channel in (worker.channel, Channel(theirs, link.handlers, lambda: None, "supervisor")):
                channel.start()
                stack.callback(channel.close)
            found.append(worker)
        yield found


def _perform(found: list[Worker], *changes: list[Any]) -> tuple[list[Any], RegionBroadcast]:
    async def run() -> tuple[list[Any], RegionBroadcast]:
        broadcast = RegionBroadcast(found)
        return [await broadcast.perform(change) for change in changes], broadcast

    return asyncio.run(run())


def _names(registry: RegionRegistry) -> list[str]:
    return [each.name for each in registry.status()]


def test_a_registration_that_fails_in_one_worker_is_undone_in_the_others(
    key: SharedObject, registry: Registries
) -> None:
    first, second = registry(4), registry(1)
    with workers(first, second) as found:
        results, broadcast = _perform(found, ["register", "a", key.key, 0, 8], ["register", "b", key.key, 0, 8])
    assert results[0] == {"error": None}
    assert results[1]["error"][0] == 503
    assert _names(first) == _names(second) == ["a"]
    assert list(broadcast.regions) == ["a"]


def test_a_region_in_use_in_one_worker_stays_registered_in_all(key: SharedObject, registry: Registries) -> None:
    first, second = registry(4), registry(4)
    register = ["register", "a", key.key, 0, 8], ["register", "b", key.key, 0, 8]
    with workers(first, second) as found:
        _perform(found, *register)
        with second.use([RegionSlice("a", 0, 8)]):
            broadcast = RegionBroadcast(found)
            broadcast.regions = {name: [name, key.key, 0, 8] for name in ("a", "b")}

            async def unregister() -> list[Any]:
                return [await broadcast.perform(change) for change in (["unregister", "a"], ["unregister_all"])]

            results = asyncio.run(unregister())
        assert results[0]["error"][0] == 500
        assert "currently in use" in results[0]["error"][2]
        assert results[1] == {"used": ["a"]}
        assert _names(first) == _names(second) == ["a"]


def test_a_worker_that_ends_during_a_change_does_not_fail_it(key: SharedObject, registry: Registries) -> None:
    first, second = registry(4), registry(4)
    with workers(first, second) as found:
        found[0].channel.close()
        results, _ = _perform(found, ["register", "a", key.key, 0, 8])
    assert results == [{"error": None}]
    assert _names(second) == ["a"]
