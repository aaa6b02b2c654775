"""Modules as OCI artifacts, in the CNCF's layout (tag-runtime.cncf.io, "Wasm OCI Artifact layout")."""

from __future__ import annotations

from typing import Any

from ..oci.blobs import Blob, blob_of
from ..oci.image_manifest import TITLE, Manifest, Part, encode
from .published_package import Package

CONFIG_TYPE = "application/vnd.wasm.config.v0+json"
LAYER_TYPE = "application/wasm"


def module_config(package: Package, blob: Blob) -> dict[str, Any]:
    """The config of a core module. The layout knows two kinds, by `os`: core modules are ``wasip1``, whether they
    import anything of WASI or not; components would be ``wasip2``, and say more."""
    return {
        "created": package.manifest.created_at,
        "architecture": "wasm",
        "os": "wasip1",
        "layerDigests": [blob.digest],
    }


def module_manifest(package: Package, name: str, blob: Blob) -> Manifest:
    """The manifest of a module. It has no artifactType: there the config's media type is what tells."""
    title = f"{name}.wasm"
    return Manifest(
        config=Part(blob=blob_of(encode(module_config(package, blob))), media_type=CONFIG_TYPE),
        layers=[Part(blob=blob, media_type=LAYER_TYPE, annotations={TITLE: title})],
        annotations=package.annotations(title),
    )
