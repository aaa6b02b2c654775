"""A whole package (requirements 2.1): what a spec file says."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, Tag, WithJsonSchema

from .base import BY_FORM, TABLE, WORD, Choice, NonEmpty, Path, SemanticVersion, Structure
from .build import BuildManifest
from .container import ContainerConfiguration
from .distribution import DistributionConfiguration
from .omniverse import OmniverseConfiguration
from .plain import format_value
from .triton import TritonConfiguration


class OperationMode(Choice):
    """What the modules were translated from."""

    Script = "script"
    Library = "library"


def _lower(value: Any) -> Any:
    return value.lower() if value in ("Script", "Library") else value


# the requirements have it as a word in lower case, and as the name of an enum's member
Mode = Annotated[
    OperationMode,
    BeforeValidator(_lower),
    WithJsonSchema({"type": "string", "enum": ["script", "library", "Script", "Library"]}),
]


class ApiDocFormat(Choice):
    """Which API documents are written."""

    OpenAPI = "OpenAPI"
    GRPC = "GRPC"
    Both = "Both"


def _parameter(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"{format_value(value)} is neither a name nor a number")
    return value


class ModuleInterface(Structure):
    """The interface of a module that does not describe itself, with the keys of the ``portalis`` section."""

    entry: NonEmpty | None = None
    convention: NonEmpty | None = None
    signature: NonEmpty | None = None
    args: tuple[Annotated[str | int | float, BeforeValidator(_parameter)], ...] | None = None
    returns: NonEmpty | None = None
    max_batch_size: int | None = None
    inputs: tuple[dict[str, Any], ...] | None = None
    outputs: tuple[dict[str, Any], ...] | None = None
    description: str | None = None


class WasmBinaryPath(Structure):
    """A module of the package; its path alone will do."""

    path: Path
    name: NonEmpty | None = None
    """The file's name without its ending when not given."""
    description: str = ""
    interface: ModuleInterface = ModuleInterface()
    triton_config: TritonConfiguration | None = None
    """What this module has otherwise than the package's ``triton_config``."""

    @property
    def module_name(self) -> str:
        """What the module is called in the package."""
        return self.name or self.path.stem


def _path_alone(value: Any) -> WasmBinaryPath:
    if not isinstance(value, str):
        raise ValueError(f"{format_value(value)} is neither a path nor a table of keys")
    return WasmBinaryPath(path=Path(value))


# A validator before the table itself would make pydantic forget that the table is JSON's.
_ModuleOrPath = Annotated[
    Annotated[WasmBinaryPath, Tag(TABLE)]
    | Annotated[
        WasmBinaryPath,
        BeforeValidator(_path_alone),
        WithJsonSchema({"type": "string", "description": "The path alone."}),
        Tag(WORD),
    ],
    BY_FORM,
]


class PackagingSettings(Structure):
    """What is to be made of the modules, whoever hands them over."""

    package_name: NonEmpty
    package_version: SemanticVersion
    description: str = ""
    output_directory: Path
    enable_nim_packaging: bool = True
    enable_triton_integration: bool = True
    enable_omniverse_packaging: bool = True
    enable_distribution_archive: bool = True
    container_config: ContainerConfiguration = ContainerConfiguration()
    triton_config: TritonConfiguration = TritonConfiguration()
    omniverse_config: OmniverseConfiguration = OmniverseConfiguration()
    distribution_config: DistributionConfiguration = DistributionConfiguration()
    generate_api_docs: bool = True
    api_doc_format: ApiDocFormat = ApiDocFormat.Both
    publish_to_registry: bool = False
    registry_url: NonEmpty | None = None
    fail_on_partial_errors: bool = False
    """Whether the run stops at the first failure."""


class PackagingConfiguration(PackagingSettings):
    """Everything that packaging needs to know. Paths are absolute once `read_spec` has read them."""

    wasm_binaries: Annotated[tuple[_ModuleOrPath, ...], Field(min_length=1)]
    test_results: Path | None = None
    build_metadata: Annotated[Annotated[BuildManifest, Tag(TABLE)] | Annotated[Path, Tag(WORD)], BY_FORM] | None = None
    """The build's own report, or the JSON file that holds it."""
    parity_report: Path | None = None
    benchmarks: Path | None = None
    pipeline_id: NonEmpty | None = None
    """The package's name and version when not given."""
    mode: Mode = OperationMode.Library

    @property
    def run_id(self) -> str:
        """The id by which this run is tracked."""
        return self.pipeline_id or f"{self.package_name}-{self.package_version}"

    def triton_for(self, module: WasmBinaryPath) -> TritonConfiguration:
        """The Triton configuration of one module: its own settings over those of the package."""
        if module.triton_config is None:
            return self.triton_config
        own = module.triton_config
        return self.triton_config.model_copy(update={key: getattr(own, key) for key in own.model_fields_set})


PackageSpec = PackagingConfiguration
