"""Content by digest: asked for before it is sent, sent in pieces where it is large, gone on with where it broke off."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ..digests import file_digest, sha256_hex
from .errors import Interrupted, RegistryError, Untrustworthy
from .session import Session
from .transport import Answer, joined

CHUNK = 64 << 20  # bytes; a smaller blob is sent in one request
_NO_PIECES = (400, 405, 411, 501)
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")

Progress = Callable[[int, int], None]
"""Is told bytes sent and bytes in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Bytes, or a file that is read when it is sent. `digest` is ``sha256:`` and 64 hexadecimal digits."""

    content: bytes | Path = field(repr=False)
    digest: str
    size: int

    def open(self) -> BinaryIO:
        """Its bytes from the beginning."""
        return io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content.open("rb")


def digest_of(content: bytes) -> str:
    """The digest of bytes."""
    return f"sha256:{sha256_hex(content)}"


def blob_of(content: bytes | Path) -> Blob:
    """A blob; a file is read once, in pieces. Raises OSError."""
    if isinstance(content, bytes):
        return Blob(content=content, digest=digest_of(content), size=len(content))
    found = file_digest(content)
    return Blob(content=content, digest=f"sha256:{found.sha256}", size=found.size_bytes)


class _Slice:
    """The bytes of a blob from `offset`, `size` of them; tells how far they were read."""

    def __init__(self, blob: Blob, offset: int, size: int, progress: Progress) -> None:
        self._file, self._left = blob.open(), size
        self._file.seek(offset)
        self._sent, self._all, self._progress = offset, blob.size, progress

    def read(self, size: int = -1, /) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        found = self._file.read(wanted)
        self._left -= len(found)
        self._sent += len(found)
        self._progress(self._sent, self._all)
        return found

    def __enter__(self) -> _Slice:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


@dataclass(slots=True)
class _Upload:
    """An upload that is under way: where it goes on, and how much of it the registry has."""

    location: str
    offset: int = 0


class Blobs:
    """The blobs of a registry's repositories."""

    def __init__(self, session: Session, chunk: int = CHUNK) -> None:
        self._session = session
        self._chunk = chunk

    def exists(self, repository: str, blob: Blob) -> bool:
        """Whether the registry has it. Raises Untrustworthy where it says that and means another."""
        answer = self._session.ask(
            "HEAD", self._session.url(repository, f"blobs/{blob.digest}"), repository, what=f"asking for {blob.digest}"
        )
        if answer.status == 404:
            return False
        if answer.status != 200:
            raise self._session.refused(f"asking for {blob.digest}", answer)
        told, size = answer.header("Docker-Content-Digest"), answer.header("Content-Length")
        if told not in ("", blob.digest) or size not in ("", str(blob.size)):
            raise self._lied(blob, f"has {told or blob.digest} with {size or 'unknown'} bytes")
        return True

    def push(self, repository: str, blob: Blob, progress: Progress = lambda *_: None) -> bool:
        """Have the registry take the blob. Returns False where it was there already."""
        if self.exists(repository, blob):
            return False
        attempt = self._session.backoff.attempt(f"uploading {blob.digest}")
        upload, furthest = None, 0
        while True:
            try:
                upload = upload or self._begin(repository)
                self._send(repository, blob, upload, progress)
                return True
            except Interrupted as problem:
                # perhaps it was only the answer that got lost
                if self.exists(repository, blob):
                    return True
                upload = self._status(repository, blob, upload)
                came_to = upload.offset if upload else 0
                attempt.failed(problem, advanced=came_to > furthest)
                furthest = max(furthest, came_to)

    def check_access(self, repository: str) -> None:
        """Begin an upload and give it up. Raises AccessDenied where we may not."""
        upload = self._begin(repository)
        with contextlib.suppress(Interrupted, RegistryError):  # those that nobody goes on with, registries forget
            self._session.once("DELETE", upload.location, repository)

    def _begin(self, repository: str) -> _Upload:
        url = self._session.url(repository, "blobs/uploads/")
        answer = self._session.ask("POST", url, repository, what="beginning an upload", body=b"")
        if answer.status != 202 or not answer.header("Location"):
            raise self._session.refused("beginning an upload", answer)
        return _Upload(joined(answer.url, answer.header("Location")))

    def _send(self, repository: str, blob: Blob, upload: _Upload, progress: Progress) -> None:
        while blob.size > self._chunk and upload.offset < blob.size:
            size = min(self._chunk, blob.size - upload.offset)
            answer = self._piece("PATCH", upload.location, repository, blob, upload.offset, size, progress)
            if answer.status in _NO_PIECES and upload.offset == 0:
                self._chunk = blob.size  # this and all others go as a whole
                raise Interrupted(f"the registry takes no pieces ({answer.status})", reached=True)
            if answer.status != 202:
                raise self._unwanted(blob, answer)
            self._advance(upload, answer, upload.offset + size)
        mark = "&" if "?" in upload.location else "?"
        url = f"{upload.location}{mark}digest={blob.digest}"
        answer = self._piece("PUT", url, repository, blob, upload.offset, blob.size - upload.offset, progress)
        if answer.status != 201:
            raise self._unwanted(blob, answer)
        told = answer.header("Docker-Content-Digest")
        if told not in ("", blob.digest):
            raise self._lied(blob, f"has kept {told}")

    def _piece(
        self, method: str, url: str, repository: str, blob: Blob, offset: int, size: int, progress: Progress
    ) -> Answer:
        headers = {"Content-Type": "application/octet-stream"}
        if method == "PATCH":
            headers["Content-Range"] = f"{offset}-{offset + size - 1}"
        with contextlib.ExitStack() as opened:  # a challenge has it sent twice
            return self._session.once(
                method,
                url,
                repository,
                headers=headers,
                body=lambda: opened.enter_context(_Slice(blob, offset, size, progress)),
                size=size,
            )

    def _unwanted(self, blob: Blob, answer: Answer) -> Exception:
        """An upload that the registry has forgotten (404, 416, or any other success than it should be) is begun anew; a
        digest that it does not find right is not."""
        if answer.status in (200, 202, 204, 404, 416):
            return Interrupted(f"the upload was given up by the registry ({answer.status})", reached=True)
        remedy, file = "", blob.content
        if isinstance(file, Path) and blob_of(file).digest != blob.digest:
            remedy = f"{file} has changed while it was sent: publish again."
        return self._session.refused(f"uploading {blob.digest}", answer, remedy)

    def _advance(self, upload: _Upload, answer: Answer, offset: int) -> None:
        told = _RANGE.fullmatch(answer.header("Range"))
        if told is not None and int(told[1]) + 1 != offset:
            raise Interrupted(f"the registry has taken {int(told[1]) + 1} bytes of {offset}", reached=True)
        upload.offset = offset
        if answer.header("Location"):
            upload.location = joined(answer.url, answer.header("Location"))

    def _status(self, repository: str, blob: Blob, upload: _Upload | None) -> _Upload | None:
        """Where an upload stands, as the registry says; None where it has to begin anew."""
        if upload is None:
            return None
        try:
            answer = self._session.once("GET", upload.location, repository)
        except (Interrupted, RegistryError):
            return None
        told = _RANGE.fullmatch(answer.header("Range"))
        # 0-0 stands for one byte, and for none
        if answer.status != 204 or told is None or not 0 < int(told[1]) < blob.size:
            return None
        location = answer.header("Location")
        return _Upload(joined(answer.url, location) if location else upload.location, int(told[1]) + 1)

    def _lied(self, blob: Blob, what: str) -> Untrustworthy:
        return Untrustworthy(
            f"{self._session.address.host} {what}, where {blob.digest} with {blob.size} bytes was sent",
            remediation="Do not use what lies there. Ask who runs the registry.",
        )
