"""What the models of a package are called, and where they lie."""

from __future__ import annotations

from pathlib import PurePosixPath

from portalis.spec import PackageSpec, WasmBinaryPath


def model_name(spec: PackageSpec, module: WasmBinaryPath) -> str:
    """The module's own ``model_name``; the package's, for its only module; else package and module."""
    own = module.triton_config.model_name if module.triton_config is not None else None
    alone = spec.triton_config.model_name if len(spec.wasm_binaries) == 1 else None
    return own or alone or f"{spec.package_name}_{module.module_name}"


def model_folder(spec: PackageSpec, name: str) -> PurePosixPath:
    """The folder of the model `name`, relative to the output directory."""
    return PurePosixPath(spec.triton_config.model_repository_path) / name
