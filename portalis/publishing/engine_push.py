"""Images go to the registry through the engine that has them: found when there is an image to push, and not before."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..oci.address import Address
from ..oci.backoff import Backoff
from ..oci.credentials import Credentials
from ..oci.errors import AccessDenied, Interrupted
from ..spec.container import ContainerRuntime
from .publishing_plan import PlannedImage

if TYPE_CHECKING:
    from ..engines.container_engine import ContainerEngine

# what engines say when a registry refuses: nothing that another try would change
_DENIED = re.compile(r"unauthorized|authentication required|denied|forbidden|no basic auth", re.IGNORECASE)
_TRIES = 5  # the engine itself tries each layer a few times


class EnginePush:
    """Pushes images; usable as a function. Close it, or use it with ``with``."""

    def __init__(
        self,
        address: Address,
        credentials: Credentials | None,
        runtime: ContainerRuntime = ContainerRuntime.Docker,
        say: Callable[[str], None] = lambda _: None,
        *,
        backoff: Backoff | None = None,
    ) -> None:
        self._address = address
        self._login = _login(address, credentials)
        self._runtime = runtime
        self._say = say
        self._backoff = backoff or Backoff(tries=_TRIES, tries_unreached=_TRIES, on_retry=say)
        self._engine: ContainerEngine | None = None

    def __call__(self, planned: PlannedImage) -> None:
        """Push one image. Raises MissingPart without an engine, AccessDenied, Unreachable."""
        from ..engines.container_engine import ContainerEngine
        from ..engines.errors import EngineFailed

        if self._engine is None:
            self._engine = ContainerEngine.find(self._runtime)
        attempt = self._backoff.attempt(f"pushing {planned.reference} with {self._engine.version()}")
        self._engine.inspect(planned.reference)
        while True:
            try:
                self._engine.push(
                    planned.reference,
                    self._address.reference(planned.repository),
                    planned.tag,
                    login=self._login,
                    plain_http=self._address.plain_http,
                    on_line=self._say,
                )
                return
            except EngineFailed as problem:
                if _DENIED.search(problem.message):
                    host = self._address.host
                    raise AccessDenied(
                        problem.message,
                        remediation=f"Log in with `docker login {host}` or `podman login {host}`, or set"
                        " PORTALIS_REGISTRY_USERNAME and PORTALIS_REGISTRY_PASSWORD.",
                    ) from None
                attempt.failed(Interrupted(problem.message, reached=True))

    def close(self) -> None:
        """End the connection to the engine, if there is one."""
        if self._engine is not None:
            self._engine.close()

    def __enter__(self) -> EnginePush:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _login(address: Address, credentials: Credentials | None) -> dict[str, str]:
    """What the engine hands to the registry, in its own terms."""
    if credentials is None:
        return {}
    if credentials.is_token:
        return {"identitytoken": credentials.secret, "serveraddress": address.host}
    return {
        "username": credentials.username,
        "password": credentials.secret,
        "serveraddress": address.host,
    }
