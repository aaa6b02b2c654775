"""What a package is made of: the spec file as immutable structures, read strictly, every problem told at once."""

from .package_spec import PackageSpec, PackagingConfiguration, WasmBinaryPath
from .read import read_spec

__all__ = ["PackageSpec", "PackagingConfiguration", "WasmBinaryPath", "read_spec"]
