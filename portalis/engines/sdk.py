"""The Docker SDK: connections to engines, and the conversion of its errors. No other module imports the SDK."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import MissingPart
from .errors import EngineFailed
from .log_text import log_sentence

try:
    import docker
    from docker.auth import encode_header
    from docker.errors import APIError, DockerException, NotFound
    from docker.utils import kwargs_from_env
    from requests.exceptions import RequestException
    from urllib3.exceptions import HTTPError
except ImportError:
    raise MissingPart("the Docker SDK is not installed", remediation="pip install 'portalis[nim]'") from None

RESPONSE_TIMEOUT_S = 120.0
ENGINE_ERRORS = (DockerException, RequestException, HTTPError, OSError)
"""The exceptions that a call of the SDK raises for an engine that fails or cannot be reached."""


def connect(address: str, environment: Mapping[str, str]) -> Any:
    """A client of the engine at `address`. `environment` contains Docker's TLS variables. Raises one of
    `ENGINE_ERRORS`."""
    options = kwargs_from_env(environment={**environment, "DOCKER_HOST": address})
    return docker.APIClient(**options, version="auto", timeout=RESPONSE_TIMEOUT_S)


def auth_header(login: Mapping[str, str]) -> str:
    """A login, encoded as the value of the header X-Registry-Auth."""
    header: bytes = encode_header(dict(login))
    return header.decode()


def engine_cause(error: BaseException) -> str:
    """The message of the innermost error, without the layers that the libraries add."""
    if isinstance(error, APIError):
        return log_sentence(str(error.explanation or error))
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__


@contextlib.contextmanager
def engine_errors(what: str, address: str) -> Iterator[None]:
    """Convert the SDK's exceptions to EngineFailed, with the message ``<what>: <cause>``."""
    try:
        yield
    except ENGINE_ERRORS as error:
        raise EngineFailed(
            f"{what}: {engine_cause(error)}", remediation=f"See the log of the engine at {address}, and try again."
        ) from None


@contextlib.contextmanager
def ignore_not_found() -> Iterator[None]:
    """Ignore that the image or container does not exist."""
    with contextlib.suppress(NotFound):
        yield
