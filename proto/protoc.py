"""Compiles .proto files to a descriptor set with protoc, from grpcio-tools. Only this module uses that library."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ..errors import MissingPart, PortalisError

_TIMEOUT_S = 120


class ProtocFailed(PortalisError):
    """protoc rejected a file. The message contains protoc's."""


def descriptor_set(files: Mapping[str, str], name: str) -> bytes:
    """A serialized FileDescriptorSet of the file `name` and all files that it imports, with their comments.

    `files` are texts by file name. protoc runs in a separate process, because it writes messages directly to the
    process's stderr. Raises MissingPart without grpcio-tools, and ProtocFailed.
    """
    if importlib.util.find_spec("grpc_tools") is None:
        raise MissingPart(
            "grpcio-tools is not installed, so .proto files are not compiled",
            remediation="Install portalis[proto]. The .proto files are complete without it.",
        )
    with tempfile.TemporaryDirectory(prefix="portalis-proto-") as folder:
        for path, text in files.items():
            (Path(folder) / path).write_text(text, encoding="utf-8")
        result = Path(folder) / "descriptors.bin"
        options = ["--include_imports", "--include_source_info", f"--descriptor_set_out={result.name}"]
        command = [sys.executable, "-m", "grpc_tools.protoc", "--proto_path=.", *options, name]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise ProtocFailed(f"protoc did not compile {name} within {_TIMEOUT_S} s") from None
        if done.returncode != 0:
            raise ProtocFailed(f"protoc cannot compile {name}: {' '.join(done.stderr.split())[:2000]}")
        return result.read_bytes()
