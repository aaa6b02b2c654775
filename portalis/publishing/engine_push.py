"""Pushes images to the registry through the engine that has them. No engine is contacted before the first push."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..oci.address import Address
from ..oci.backoff import Backoff
from ..oci.credentials import Credentials
from ..oci.errors import AccessDenied, Interrupted
from ..spec.container import ContainerRuntime
from .publishing_plan import ImagePush

if TYPE_CHECKING:
    from ..engines.container_engine import ContainerEngine

# the messages of engines if a registry denies access, which a retry would not change
_DENIED = re.compile(r"unauthorized|authentication required|denied|forbidden|no basic auth", re.IGNORECASE)
_MAX_TRIES = 5  # the engine itself retries each layer


class EnginePush:
    """Pushes images through an engine. Close it, or use it with ``with``."""

    def __init__(
        self,
        address: Address,
        credentials: Credentials | None,
        runtime: ContainerRuntime = ContainerRuntime.Docker,
        on_progress: Callable[[str], None] = lambda _: None,
        *,
        backoff: Backoff | None = None,
    ) -> None:
        self._address = address
        self._login = _login(address, credentials)
        self._runtime = runtime
        self._on_progress = on_progress
        self._backoff = backoff or Backoff(max_tries=_MAX_TRIES, max_tries_unreached=_MAX_TRIES, on_retry=on_progress)
        self._engine: ContainerEngine | None = None

    def push(self, planned: ImagePush) -> None:
        """Push one image. Raises MissingPart without an engine, EngineFailed if the engine does not have the image,
        AccessDenied and Unreachable."""
        from ..engines.container_engine import ContainerEngine
        from ..engines.errors import EngineFailed

        if self._engine is None:
            self._engine = ContainerEngine.find(self._runtime)
        retries = self._backoff.retries(f"pushing {planned.reference} with {self._engine.version()}")
        self._engine.inspect(planned.reference)
        while True:
            try:
                self._engine.push(
                    planned.reference,
                    self._address.reference(planned.repository),
                    planned.tag,
                    login=self._login,
                    plain_http=self._address.plain_http,
                    on_line=self._on_progress,
                )
                return
            except EngineFailed as error:
                if _DENIED.search(error.message):
                    host = self._address.host
                    raise AccessDenied(
                        error.message,
                        remediation=f"Log in with `docker login {host}` or `podman login {host}`, or set"
                        " PORTALIS_REGISTRY_USERNAME and PORTALIS_REGISTRY_PASSWORD.",
                    ) from None
                retries.wait_or_raise(Interrupted(error.message, reached=True))

    def close(self) -> None:
        """Close the connection to the engine, if there is one."""
        if self._engine is not None:
            self._engine.close()

    def __enter__(self) -> EnginePush:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _login(address: Address, credentials: Credentials | None) -> dict[str, str]:
    """The credentials in the format of the engine's API."""
    if credentials is None:
        return {}
    if credentials.is_token:
        return {"identitytoken": credentials.secret, "serveraddress": address.host}
    return {
        "username": credentials.username,
        "password": credentials.secret,
        "serveraddress": address.host,
    }
