"""The structure of a spec file: a whole package (requirements 2.1)."""

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
    """The kind of source that the modules were translated from."""

    Script = "script"
    Library = "library"


def _lower(value: Any) -> Any:
    return value.lower() if value in ("Script", "Library") else value


# the requirements write it in lower case, and also as the name of an enum's member
Mode = Annotated[
    OperationMode,
    BeforeValidator(_lower),
    WithJsonSchema({"type": "string", "enum": ["script", "library", "Script", "Library"]}),
]


class ApiDocFormat(Choice):
    """The formats of API documents."""

    OpenAPI = "OpenAPI"
    GRPC = "GRPC"
    Both = "Both"


def _parameter(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"{format_value(value)} is neither a name nor a number")
    return value


class ModuleInterface(Structure):
    """The interface of a module without a ``portalis`` section, with the keys of that section."""

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
    """A module of the package. Only the path is required."""

    path: Path
    name: NonEmpty | None = None
    """By default the file's name without its extension."""
    description: str = ""
    interface: ModuleInterface = ModuleInterface()
    triton_config: TritonConfiguration | None = None
    """The settings that override the package's ``triton_config``."""

    @property
    def module_name(self) -> str:
        """The name of the module in the package."""
        return self.name or self.path.stem


def _path_alone(value: Any) -> WasmBinaryPath:
    if not isinstance(value, str):
        raise ValueError(f"{format_value(value)} is neither a path nor a table")
    return WasmBinaryPath(path=Path(value))


# With a validator before the table itself, pydantic would not validate the table in JSON mode.
_ModuleOrPath = Annotated[
    Annotated[WasmBinaryPath, Tag(TABLE)]
    | Annotated[
        WasmBinaryPath,
        BeforeValidator(_path_alone),
        WithJsonSchema({"type": "string", "description": "The path."}),
        Tag(WORD),
    ],
    BY_FORM,
]


class PackagingSettings(Structure):
    """The settings of a package that the spec and the input contract share."""

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
    """A spec. `read_spec` makes all its paths absolute."""

    wasm_binaries: Annotated[tuple[_ModuleOrPath, ...], Field(min_length=1)]
    test_results: Path | None = None
    build_metadata: Annotated[Annotated[BuildManifest, Tag(TABLE)] | Annotated[Path, Tag(WORD)], BY_FORM] | None = None
    """The build report, or the path of a JSON file that contains it."""
    parity_report: Path | None = None
    benchmarks: Path | None = None
    pipeline_id: NonEmpty | None = None
    """By default the package's name and version."""
    mode: Mode = OperationMode.Library

    @property
    def run_id(self) -> str:
        """The id of the run in reports and manifests."""
        return self.pipeline_id or f"{self.package_name}-{self.package_version}"

    def triton_for(self, module: WasmBinaryPath) -> TritonConfiguration:
        """The Triton configuration of one module: its settings override those of the package."""
        if module.triton_config is None:
            return self.triton_config
        own = module.triton_config
        return self.triton_config.model_copy(update={key: getattr(own, key) for key in own.model_fields_set})


PackageSpec = PackagingConfiguration
