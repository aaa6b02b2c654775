"""Blobs of a registry: uploaded only if missing, in chunks if large, and resumed after an interruption."""

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
from .transport import RegistryResponse, join_url

CHUNK_BYTES = 64 << 20
"""Size of a chunk. A blob that is not larger is uploaded with one request."""
_CHUNKS_UNSUPPORTED = (400, 405, 411, 501)
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")

Progress = Callable[[int, int], None]
"""Receives the number of bytes sent, and the size of the blob."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Bytes, or a file that is read when it is sent. `digest` is ``sha256:`` and 64 hexadecimal digits."""

    content: bytes | Path = field(repr=False)
    digest: str
    size: int

    def open(self) -> BinaryIO:
        """Open the content for reading. Raises OSError."""
        return io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content.open("rb")


def content_digest(content: bytes) -> str:
    """The OCI digest of bytes: ``sha256:`` and 64 hexadecimal digits."""
    return f"sha256:{sha256_hex(content)}"


def blob_of(content: bytes | Path) -> Blob:
    """Create a blob. A file is read once to compute its digest. Raises OSError."""
    if isinstance(content, bytes):
        return Blob(content=content, digest=content_digest(content), size=len(content))
    digest = file_digest(content)
    return Blob(content=content, digest=f"sha256:{digest.sha256}", size=digest.size_bytes)


class _Slice:
    """A reader of `size` bytes of a blob from `offset` that reports its progress."""

    def __init__(self, blob: Blob, offset: int, size: int, progress: Progress) -> None:
        self._file, self._remaining = blob.open(), size
        self._file.seek(offset)
        self._sent, self._total, self._progress = offset, blob.size, progress

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(self._remaining if size < 0 else min(size, self._remaining))
        self._remaining -= len(data)
        self._sent += len(data)
        self._progress(self._sent, self._total)
        return data

    def __enter__(self) -> _Slice:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


@dataclass(slots=True)
class _Upload:
    """An upload in progress: its URL, and the number of bytes that the registry has."""

    location: str
    offset: int = 0


class BlobClient:
    """The blob endpoints of a registry."""

    def __init__(self, session: Session, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._session = session
        self._chunk_bytes = chunk_bytes

    def exists(self, repository: str, blob: Blob) -> bool:
        """Whether the registry has the blob. Raises Untrustworthy if digest or size in its response differ."""
        url, what = self._session.url(repository, f"blobs/{blob.digest}"), f"checking for {blob.digest}"
        response = self._session.request("HEAD", url, repository, what=what)
        if response.status == 404:
            return False
        if response.status != 200:
            raise self._session.unexpected_response(what, response)
        digest, size = response.header("Docker-Content-Digest"), response.header("Content-Length")
        if digest not in ("", blob.digest) or size not in ("", str(blob.size)):
            raise self._mismatch(blob, f"has {digest or blob.digest} with {size or 'unknown'} bytes")
        return True

    def push(self, repository: str, blob: Blob, progress: Progress = lambda *_: None) -> bool:
        """Upload the blob if the registry does not have it. Returns whether it was uploaded."""
        if self.exists(repository, blob):
            return False
        retries = self._session.backoff.retries(f"uploading {blob.digest}")
        upload, furthest = None, 0
        while True:
            try:
                upload = upload or self._start_upload(repository)
                self._send(repository, blob, upload, progress)
                return True
            except Interrupted as error:
                # only the response may have been lost
                if self.exists(repository, blob):
                    return True
                upload = self._resume(repository, blob, upload)
                offset = upload.offset if upload else 0
                retries.wait_or_raise(error, progressed=offset > furthest)
                furthest = max(furthest, offset)

    def check_access(self, repository: str) -> None:
        """Start an upload and cancel it. Raises AccessDenied if pushing to `repository` is not permitted."""
        upload = self._start_upload(repository)
        with contextlib.suppress(Interrupted, RegistryError):  # registries remove abandoned uploads
            self._session.request_once("DELETE", upload.location, repository)

    def _start_upload(self, repository: str) -> _Upload:
        url, what = self._session.url(repository, "blobs/uploads/"), "starting an upload"
        response = self._session.request("POST", url, repository, what=what, body=b"")
        if response.status != 202 or not response.header("Location"):
            raise self._session.unexpected_response(what, response)
        return _Upload(join_url(response.url, response.header("Location")))

    def _send(self, repository: str, blob: Blob, upload: _Upload, progress: Progress) -> None:
        while blob.size > self._chunk_bytes and upload.offset < blob.size:
            size = min(self._chunk_bytes, blob.size - upload.offset)
            response = self._send_slice("PATCH", upload.location, repository, blob, upload.offset, size, progress)
            if response.status in _CHUNKS_UNSUPPORTED and upload.offset == 0:
                self._chunk_bytes = blob.size  # send this blob, and those that are not larger, with one request
                raise Interrupted(f"the registry does not support chunks ({response.status})", reached=True)
            if response.status != 202:
                raise self._upload_error(blob, response)
            self._advance(upload, response, upload.offset + size)
        separator = "&" if "?" in upload.location else "?"
        url = f"{upload.location}{separator}digest={blob.digest}"
        response = self._send_slice("PUT", url, repository, blob, upload.offset, blob.size - upload.offset, progress)
        if response.status != 201:
            raise self._upload_error(blob, response)
        digest = response.header("Docker-Content-Digest")
        if digest not in ("", blob.digest):
            raise self._mismatch(blob, f"stored {digest}")

    def _send_slice(
        self, method: str, url: str, repository: str, blob: Blob, offset: int, size: int, progress: Progress
    ) -> RegistryResponse:
        headers = {"Content-Type": "application/octet-stream"}
        if method == "PATCH":
            headers["Content-Range"] = f"{offset}-{offset + size - 1}"
        with contextlib.ExitStack() as readers:  # after a challenge, the slice is sent a second time
            return self._session.request_once(
                method,
                url,
                repository,
                headers=headers,
                body=lambda: readers.enter_context(_Slice(blob, offset, size, progress)),
                size=size,
            )

    def _upload_error(self, blob: Blob, response: RegistryResponse) -> Exception:
        """The error for an unexpected response to an upload. An upload that the registry dropped (404, 416, or a wrong
        success status) can be restarted; a digest that the registry rejects cannot."""
        if response.status in (200, 202, 204, 404, 416):
            return Interrupted(f"the registry dropped the upload ({response.status})", reached=True)
        remediation, file = "", blob.content
        if isinstance(file, Path) and blob_of(file).digest != blob.digest:
            remediation = f"{file} has changed during the upload: publish again."
        return self._session.unexpected_response(f"uploading {blob.digest}", response, remediation)

    def _advance(self, upload: _Upload, response: RegistryResponse, offset: int) -> None:
        received = _RANGE.fullmatch(response.header("Range"))
        if received is not None and int(received[1]) + 1 != offset:
            raise Interrupted(f"the registry received {int(received[1]) + 1} of {offset} bytes", reached=True)
        upload.offset = offset
        if response.header("Location"):
            upload.location = join_url(response.url, response.header("Location"))

    def _resume(self, repository: str, blob: Blob, upload: _Upload | None) -> _Upload | None:
        """The upload with the offset that the registry reports; None if the upload must be restarted."""
        if upload is None:
            return None
        try:
            response = self._session.request_once("GET", upload.location, repository)
        except (Interrupted, RegistryError):
            return None
        received = _RANGE.fullmatch(response.header("Range"))
        # a range of 0-0 can mean one byte or none
        if response.status != 204 or received is None or not 0 < int(received[1]) < blob.size:
            return None
        location = response.header("Location")
        return _Upload(join_url(response.url, location) if location else upload.location, int(received[1]) + 1)

    def _mismatch(self, blob: Blob, what: str) -> Untrustworthy:
        return Untrustworthy(
            f"{self._session.address.host} {what}, expected {blob.digest} with {blob.size} bytes",
            remediation="Do not use this blob. Contact the operator of the registry.",
        )
