"""Parts: external tools and servers that tests use. Each function returns one part, or skips the test with a hint."""

from .compilers import asc, clang, rustc, wasm_tools, zig
from .engines import BASE_IMAGE, WHEELHOUSE, docker_engine, podman_engine
from .kit import kit, kit_usd
from .lookup import MISSING, NPM, PARTS, ROOT, Missing, required, skip_or_fail
from .programs import (
    cosign,
    docker_registry,
    extism,
    gpu,
    kserve,
    openssl,
    oras,
    perf_analyzer,
    python,
    shellcheck,
    skopeo,
    triton_client_examples,
    wasmedge,
)
from .server import tritonserver

__all__ = [
    "BASE_IMAGE",
    "MISSING",
    "NPM",
    "PARTS",
    "ROOT",
    "WHEELHOUSE",
    "Missing",
    "asc",
    "clang",
    "cosign",
    "docker_engine",
    "docker_registry",
    "extism",
    "gpu",
    "kit",
    "kit_usd",
    "kserve",
    "openssl",
    "oras",
    "perf_analyzer",
    "podman_engine",
    "python",
    "required",
    "rustc",
    "shellcheck",
    "skip_or_fail",
    "skopeo",
    "triton_client_examples",
    "tritonserver",
    "wasm_tools",
    "wasmedge",
    "zig",
]
