"""Changes of the registered regions: in this process, or in all processes of a service with several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..peers.worker_link import WorkerLink, check_error, pack_error
from ..request_errors import RequestError
from .region_registry import RegionRegistry, regions_in_use

ANSWER_S = 60.0
"""Time limit in seconds for a change in all processes."""


class RegionChanges:
    """Changes `registry`, and the registries of the other processes if there is a `link` to them. A change that fails
    in one process is undone in the others."""

    def __init__(self, registry: RegionRegistry, link: WorkerLink | None) -> None:
        self._registry, self._link = registry, link
        if link is not None:
            link.handlers["change region"] = self._change_own

    async def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """The same as `RegionRegistry.register`, in all processes."""
        if self._link is None:
            self._registry.register(name, key, offset, byte_size)
        else:
            check_error((await self._ask("register", name, key, offset, byte_size))["error"])

    async def unregister(self, name: str) -> None:
        """The same as `RegionRegistry.unregister`, in all processes."""
        if self._link is None:
            self._registry.unregister(name)
        else:
            check_error((await self._ask("unregister", name))["error"])

    async def unregister_all(self) -> None:
        """The same as `RegionRegistry.unregister_all`, in all processes."""
        if self._link is None:
            self._registry.unregister_all()
        elif used := (await self._ask("unregister_all"))["used"]:
            raise regions_in_use(used)

    async def _ask(self, action: str, *arguments: Any) -> Any:
        assert self._link is not None
        return await self._link.ask("region", [action, *arguments], timeout_s=ANSWER_S)

    def restore(self, regions: Sequence[Sequence[Any]]) -> list[str]:
        """Register the regions that the other processes have; returns the names of those that failed."""
        failed = []
        for name, key, offset, byte_size in regions:
            try:
                self._registry.register(name, key, offset, byte_size)
            except RequestError:
                failed.append(name)
        return failed

    def _change_own(self, body: Sequence[Any]) -> list[Any] | None:
        """Change the registry of this process; returns the fields of an error."""
        action, *arguments = body
        try:
            if action == "register":
                self._registry.register(*arguments)
            else:
                self._registry.unregister(*arguments)
        except RequestError as error:
            return pack_error(error)
        return None
