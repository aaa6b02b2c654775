"""The Omniverse Kit extension (requirements 2.4)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Tag

from .base import BY_FORM, TABLE, WORD, Choice, NonEmpty, Path, SemanticVersion, Structure

KitVersion = Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+(\.[0-9]+)?$")]


class IntegrationType(Choice):
    """The purpose of the extension in Kit."""

    Simulation = "Simulation"
    Renderer = "Renderer"
    Tool = "Tool"
    DataProcessor = "DataProcessor"


class CustomIntegration(Structure):
    """A custom integration, written ``{ Custom = "name" }``."""

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
    """An extension that this one depends on."""

    extension_name: NonEmpty
    version_requirement: str = ""


class ExampleScenario(Structure):
    """A script that demonstrates the extension, with a USD scene if `scenario_file` is set."""

    name: NonEmpty
    description: str = ""
    scenario_file: Path | None = None
    documentation: str = ""


class OmniverseConfiguration(Structure):
    """One extension for the package."""

    extension_name: NonEmpty | None = None
    """The dotted id; by default ``portalis_ext.`` and the package's name."""
    extension_version: SemanticVersion | None = None
    """By default the package's version."""
    extension_description: str | None = None
    """By default the package's description."""
    extension_title: NonEmpty | None = None
    """The title in the extension manager; by default the package's name."""
    extension_category: NonEmpty = "Portalis"
    """The category in the extension manager."""
    wasm_modules: tuple[WasmModulePath, ...] = ()
    """By default all modules of the package."""
    required_kit_version: KitVersion = "110.0"
    compatible_kit_versions: tuple[KitVersion, ...] = ()
    dependencies: tuple[OmniExtensionDep, ...] = ()
    integration_type: Integration = IntegrationType.DataProcessor
    generate_integration_docs: bool = True
    example_scenarios: tuple[ExampleScenario, ...] = ()
    validate_wasm_compatibility: bool = True
    package_as_extension: bool = True
    registry: bool = False
    """Whether to write an extension registry for Kit too, a directory (version 2 of the layout)."""
    prebundle: bool = True
    """Whether to include NumPy and Wasmtime, for the Python of ``required_kit_version`` on 64-bit Linux."""
    wheelhouse: Path | None = None
    """A directory with their wheels; by default they are downloaded."""
    omnigraph_nodes: bool = False
    """Whether to register an OmniGraph node for each module."""
    extension_icon: Path | None = None
    extension_preview: Path | None = None
