"""The spec file of a package as immutable structures, read strictly; all its problems are reported together."""

from .package_spec import PackageSpec, PackagingConfiguration, WasmBinaryPath
from .read import read_spec

__all__ = ["PackageSpec", "PackagingConfiguration", "WasmBinaryPath", "read_spec"]
