"""The build context of Dockerfile.triton from an installed portalis: the same files as from a checkout."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from ... import errors, wasm_backend
from ...engines.build_context import BuildContext
from ...errors import UsageError

_HERE = Path(__file__).parent
_OWN = ("assemble.py", "health.py", "requirements.txt")


def triton_context(*, triton_image: str | None = None, wheelhouse: Path | None = None) -> BuildContext:
    """The build context of the image.

    `triton_image` is the base image: NVIDIA's, or a custom one with Triton in ``/opt/tritonserver``; the Dockerfile's
    default if None. With `wheelhouse`, a directory with the wheels of requirements.txt for that image's Python, the
    build needs no network. Raises UsageError if it contains no wheels.
    """
    modules = [Path(wasm_backend.__file__).with_name("__init__.py"), Path(errors.__file__), Path(wasm_backend.__file__)]
    backend = (*wasm_backend.island_files(), *wasm_backend.library_files())
    files: dict[str, bytes | Path] = {
        # the default name for engines
        "Dockerfile": _HERE / "Dockerfile.triton",
        **{f"nim/triton/{name}": _HERE / name for name in _OWN},
        **{f"portalis/{module.name}": module for module in modules},
        **{f"backend/{path}": source for path, source in backend},
    }
    if wheelhouse is not None:
        wheels = sorted(wheelhouse.glob("*.whl"))
        if not wheels:
            raise UsageError(
                f"no wheels found in {wheelhouse}",
                remediation="Fill it with `pip download --no-deps --only-binary=:all: --dest DIRECTORY --requirement"
                f" {_HERE / 'requirements.txt'}` for the Python of the Triton image, or omit it to install from the"
                " package index.",
            )
        files |= {f"wheelhouse/{wheel.name}": wheel for wheel in wheels}
    return BuildContext(
        files={PurePosixPath(path): files[path] for path in sorted(files)},
        arguments={"TRITON_IMAGE": triton_image} if triton_image else {},
    )
