"""The Docker SDK: how an engine is reached, and what its troubles come to. The only module that imports it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import MissingPart
from .image import EngineFailed
from .log_text import sentence

try:
    import docker
    from docker.auth import encode_header
    from docker.errors import APIError, DockerException, NotFound
    from docker.utils import kwargs_from_env
    from requests.exceptions import RequestException
    from urllib3.exceptions import HTTPError
except ImportError:
    raise MissingPart("the Docker SDK is not installed", remediation="pip install 'portalis[nim]'") from None

ANSWER_TIMEOUT_S = 120.0
TROUBLE = (DockerException, RequestException, HTTPError, OSError)


def connect(address: str, environment: Mapping[str, str]) -> Any:
    """A client of the engine at `address`; `environment` says how it is encrypted. Raises one of `TROUBLE`."""
    options = kwargs_from_env(environment={**environment, "DOCKER_HOST": address})
    return docker.APIClient(**options, version="auto", timeout=ANSWER_TIMEOUT_S)


def auth_header(login: Mapping[str, str]) -> str:
    """A login in the form of the header that engines read it from."""
    header: bytes = encode_header(dict(login))
    return header.decode()


def cause(problem: BaseException) -> str:
    """What went wrong at the bottom, without the layers of the libraries."""
    if isinstance(problem, APIError):
        return sentence(str(problem.explanation or problem))
    while problem.__cause__ or problem.__context__:
        problem = problem.__cause__ or problem.__context__ or problem
    return (problem.strerror if isinstance(problem, OSError) and problem.strerror else str(problem)) or type(
        problem
    ).__name__


@contextlib.contextmanager
def telling(what: str, address: str) -> Iterator[None]:
    """What the engine at `address` refuses inside is raised as EngineFailed, with `what` before its reason."""
    try:
        yield
    except TROUBLE as problem:
        raise EngineFailed(
            f"{what}: {cause(problem)}", remediation=f"Look at the log of the engine at {address}, and try again."
        ) from None


@contextlib.contextmanager
def unless_gone() -> Iterator[None]:
    """Passes over that what is asked for is not there."""
    with contextlib.suppress(NotFound):
        yield
