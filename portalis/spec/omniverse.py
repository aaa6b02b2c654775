"""The Omniverse Kit extension (requirements 2.4)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Tag

from .base import BY_FORM, TABLE, WORD, Choice, NonEmpty, Path, SemanticVersion, Structure

KitVersion = Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+(\.[0-9]+)?$")]


class IntegrationType(Choice):
    """What the extension does inside Kit."""

    Simulation = "Simulation"
    Renderer = "Renderer"
    Tool = "Tool"
    DataProcessor = "DataProcessor"


class CustomIntegration(Structure):
    """An integration of one's own, written ``{ Custom = "name" }``."""

    Custom: NonEmpty


Integration = Annotated[
    Annotated[IntegrationType, Tag(WORD)] | Annotated[CustomIntegration, Tag(TABLE)],
    BY_FORM,
]


class WasmModulePath(Structure):
    """A module of the extension."""

    module_name: NonEmpty
    file_path: Path
    entry_point: NonEmpty = "main"
    description: str = ""


class OmniExtensionDep(Structure):
    """Another extension that this one needs."""

    extension_name: NonEmpty
    version_requirement: str = ""


class ExampleScenario(Structure):
    """A script, and a USD scene where one is given, that show the extension at work."""

    name: NonEmpty
    description: str = ""
    scenario_file: Path | None = None
    documentation: str = ""


class OmniverseConfiguration(Structure):
    """One extension for the package."""

    extension_name: NonEmpty | None = None
    """The dotted id; ``portalis_ext.`` and the package's name when not given."""
    extension_version: SemanticVersion | None = None
    """The package's version when not given."""
    extension_description: str | None = None
    """The package's description when not given."""
    extension_title: NonEmpty | None = None
    """What the extension manager shows; the package's name when not given."""
    extension_category: NonEmpty = "Portalis"
    """Where the extension manager shows it."""
    wasm_modules: tuple[WasmModulePath, ...] = ()
    """All modules of the package when empty."""
    required_kit_version: KitVersion = "110.0"
    compatible_kit_versions: tuple[KitVersion, ...] = ()
    dependencies: tuple[OmniExtensionDep, ...] = ()
    integration_type: Integration = IntegrationType.DataProcessor
    generate_integration_docs: bool = True
    example_scenarios: tuple[ExampleScenario, ...] = ()
    validate_wasm_compatibility: bool = True
    package_as_extension: bool = True
    registry: bool = False
    """Whether a folder is written, too, that Kit takes for an extension registry (version 2 of its layout)."""
    prebundle: bool = True
    """Whether NumPy and Wasmtime lie in the extension, for the Python of ``required_kit_version`` on 64-bit Linux."""
    wheelhouse: Path | None = None
    """A folder with their wheels; they are downloaded when not given."""
    omnigraph_nodes: bool = False
    """Whether each module is an OmniGraph node too."""
    extension_icon: Path | None = None
    extension_preview: Path | None = None
