"""protoc, of grpcio-tools: .proto files to a descriptor set. Nothing else knows that library."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ..errors import MissingPart, PortalisError

TIMEOUT_S = 120


class ProtocFailed(PortalisError):
    """protoc refused a file; the message is what it says."""


def descriptor_set(files: Mapping[str, str], name: str) -> bytes:
    """A serialised FileDescriptorSet of the file `name` and all that it imports, comments included.

    `files` are texts by file name. It runs in a process of its own, as protoc writes its messages past Python. Raises
    MissingPart without grpcio-tools, ProtocFailed.
    """
    if importlib.util.find_spec("grpc_tools") is None:
        raise MissingPart(
            "grpcio-tools is not here, so .proto files are not compiled",
            remediation="Install portalis[proto]; the .proto files themselves are complete without it.",
        )
    with tempfile.TemporaryDirectory(prefix="portalis-proto-") as folder:
        for path, text in files.items():
            (Path(folder) / path).write_text(text, encoding="utf-8")
        result = Path(folder) / "descriptors.bin"
        options = ["--include_imports", "--include_source_info", f"--descriptor_set_out={result.name}"]
        command = [sys.executable, "-m", "grpc_tools.protoc", "--proto_path=.", *options, name]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise ProtocFailed(f"protoc did not compile {name} within {TIMEOUT_S} s") from None
        if done.returncode != 0:
            raise ProtocFailed(f"protoc does not compile {name}: {' '.join(done.stderr.split())[:2000]}")
        return result.read_bytes()
