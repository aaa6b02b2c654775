"""Names of files and directories in an output directory, each written by one target and read by others."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..spec import PackageSpec
    from ..spec.package_spec import WasmBinaryPath

ARCHIVES = PurePosixPath("archives")
CONTAINERS = PurePosixPath("containers")
OMNIVERSE = PurePosixPath("omniverse")
DOCS = PurePosixPath("docs")
DEPLOYMENT = PurePosixPath("deployment")

REPORT = "packaging-report.json"  # a directory with a report was written by a run, and may be replaced
PUBLISH_SCRIPT = "publish.sh"
IMAGE_ARCHIVE = "image.tar"
WASM_RUNTIME = "wasm-runtime"

# file name endings: after the name of the archive that a file is about
SBOM_ENDING = "sbom.cdx.json"
SIGNED_ENDING = "intoto.jsonl"
UNSIGNED_ENDING = "provenance.json"


def model_name(spec: PackageSpec, module: WasmBinaryPath) -> str:
    """The name of a module's Triton model.

    It is the module's own ``model_name``; else the package's, if the package has only one module; else package and
    module name, joined by an underscore.
    """
    own = module.triton_config.model_name if module.triton_config is not None else None
    alone = spec.triton_config.model_name if len(spec.wasm_binaries) == 1 else None
    return own or alone or f"{spec.package_name}_{module.module_name}"


def model_folder(spec: PackageSpec, name: str) -> PurePosixPath:
    """The directory of the Triton model `name`, relative to the output directory."""
    return PurePosixPath(spec.triton_config.model_repository_path) / name
