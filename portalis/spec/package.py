"""A whole package (requirements 2.1): what a spec file says."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator

from .base import Choice, NonEmpty, Path, SemanticVersion, Structure
from .build import BuildManifest
from .container import ContainerConfiguration
from .distribution import DistributionConfiguration
from .omniverse import OmniverseConfiguration
from .triton import TritonConfiguration


class OperationMode(Choice):
    """What the modules were translated from."""

    Script = "script"
    Library = "library"


class ApiDocFormat(Choice):
    """Which API documents are written."""

    OpenAPI = "OpenAPI"
    GRPC = "GRPC"
    Both = "Both"


class ModuleInterface(Structure):
    """The interface of a module that does not describe itself, with the keys of the ``portalis`` section."""

    entry: NonEmpty | None = None
    convention: NonEmpty | None = None
    signature: NonEmpty | None = None
    args: tuple[str | int | float, ...] | None = None
    returns: NonEmpty | None = None
    max_batch_size: int | None = None
    inputs: tuple[dict[str, Any], ...] | None = None
    outputs: tuple[dict[str, Any], ...] | None = None
    description: str | None = None


def _or_a_path(schema: dict[str, Any]) -> None:
    """In the JSON Schema: a text in place of the table."""
    table = dict(schema)
    schema.clear()
    schema["anyOf"] = [table, {"type": "string"}]


def _with_tuples(value: Any) -> Any:
    """JSON's arrays as tuples: what comes out of a validator is Python's to pydantic, and strict about lists."""
    if isinstance(value, dict):
        return {key: _with_tuples(each) for key, each in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


class WasmBinaryPath(Structure):
    """A module of the package; its path alone will do."""

    model_config = ConfigDict(json_schema_extra=_or_a_path)

    path: Path
    name: NonEmpty | None = None
    """The file's name without its ending when not given."""
    description: str = ""
    interface: ModuleInterface = ModuleInterface()
    triton_config: TritonConfiguration | None = None
    """What this module has otherwise than the package's ``triton_config``."""

    @model_validator(mode="before")
    @classmethod
    def _a_path_alone(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else _with_tuples(value)

    @property
    def module_name(self) -> str:
        """What the module is called in the package."""
        return self.name or self.path.stem


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

    wasm_binaries: Annotated[tuple[WasmBinaryPath, ...], Field(min_length=1)]
    test_results: Path | None = None
    build_metadata: BuildManifest | Path | None = None
    """The build's own report, or the JSON file that holds it."""
    parity_report: Path | None = None
    benchmarks: Path | None = None
    pipeline_id: NonEmpty | None = None
    """The package's name and version when not given."""
    mode: OperationMode = OperationMode.Library

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
