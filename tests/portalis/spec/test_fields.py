"""Every structure of the requirements (2.1 to 2.5) with its fields, their defaults, and the words of every enum."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel

from portalis.contracts.documents import DocumentFormat
from portalis.spec import base, container, distribution, omniverse, scheduling, triton
from portalis.spec import model_tensors as tensors
from portalis.spec import package_spec as package

NEEDED = object()
ANY = object()  # the requirements name no default

PACKAGE = {
    "package_name": NEEDED,
    "package_version": NEEDED,
    "description": ANY,
    "wasm_binaries": NEEDED,
    "test_results": ANY,
    "build_metadata": ANY,
    "parity_report": ANY,
    "output_directory": NEEDED,
    "enable_nim_packaging": True,
    "enable_triton_integration": True,
    "enable_omniverse_packaging": True,
    "enable_distribution_archive": True,
    "container_config": ANY,
    "triton_config": ANY,
    "omniverse_config": ANY,
    "distribution_config": ANY,
    "generate_api_docs": True,
    "api_doc_format": ANY,
    "publish_to_registry": False,
    "registry_url": None,
    "pipeline_id": ANY,
    "mode": ANY,
}
CONTAINER = {
    "base_image": ANY,
    "runtime": ANY,
    "image_name": ANY,
    "image_tag": ANY,
    "labels": {},
    "wasm_runtime": ANY,
    "wasm_runtime_version": ANY,
    "health_check_endpoint": "/health",
    "health_check_interval": 30,
    "health_check_timeout": 5,
    "health_check_retries": 3,
    "service_port": 8000,
    "metrics_port": 9090,
    "memory_limit": None,
    "cpu_limit": None,
    "gpu_required": False,
    "gpu_count": None,
    "environment_vars": {},
    "volumes": (),
    "entrypoint": (),
    "command_args": (),
    "run_as_non_root": True,
    "read_only_root_filesystem": True,
    "drop_capabilities": ANY,
}
TRITON = {
    "model_repository_path": ANY,
    "model_name": ANY,
    "model_version": ANY,
    "platform": ANY,
    "max_batch_size": ANY,
    "instance_groups": (),
    "inputs": (),
    "outputs": (),
    "dynamic_batching": None,
    "sequence_batching": None,
    "backend_parameters": {},
    "optimization": ANY,
    "version_policy": ANY,
}
OMNIVERSE = {
    "extension_name": ANY,
    "extension_version": ANY,
    "extension_description": ANY,
    "wasm_modules": (),
    "required_kit_version": ANY,
    "compatible_kit_versions": (),
    "dependencies": (),
    "integration_type": ANY,
    "generate_integration_docs": ANY,
    "example_scenarios": (),
    "validate_wasm_compatibility": True,
    "package_as_extension": True,
    "extension_icon": None,
    "extension_preview": None,
}
DISTRIBUTION = {
    "archive_format": ANY,
    "fallback_formats": ANY,
    "compression_level": ANY,
    "include_source_rust": True,
    "include_test_reports": True,
    "include_benchmarks": True,
    "include_documentation": True,
    "generate_manifest": True,
    "manifest_format": ANY,
    "generate_readme": True,
    "readme_format": ANY,
    "readme_template": None,
    "license_file": None,
    "license_type": None,
    "generate_checksums": True,
    "checksum_algorithms": ANY,
    "sbom": True,
    "provenance": True,
    "signing_key": None,
    "builder_id": None,
    "publish_metadata": ANY,
}
STRUCTURES: dict[type[BaseModel], dict[str, object]] = {
    package.PackagingConfiguration: PACKAGE,
    container.ContainerConfiguration: CONTAINER,
    container.VolumeMount: {"host_path": NEEDED, "container_path": NEEDED, "read_only": ANY},
    triton.TritonConfiguration: TRITON,
    triton.InstanceGroup: {"name": ANY, "kind": ANY, "count": ANY, "gpus": None},
    tensors.ModelInput: {"name": NEEDED, "data_type": NEEDED, "dims": NEEDED, "format": None, "optional": False},
    tensors.ModelOutput: {"name": NEEDED, "data_type": NEEDED, "dims": NEEDED, "label_filename": None},
    scheduling.DynamicBatchingConfig: {
        "preferred_batch_size": ANY,
        "max_queue_delay_microseconds": ANY,
        "preserve_ordering": ANY,
        "priority_levels": ANY,
        "default_priority_level": ANY,
    },
    scheduling.SequenceBatchingConfig: {"max_sequence_idle_microseconds": ANY, "control_inputs": ANY, "states": ANY},
    scheduling.ControlInput: {"name": NEEDED, "control_type": NEEDED},
    scheduling.SequenceState: {"name": NEEDED, "data_type": NEEDED, "dims": NEEDED},
    triton.OptimizationConfig: {"graph_optimization": ANY, "cuda_graphs": ANY, "gather_kernel_buffer_threshold": ANY},
    triton.VersionPolicy: {"policy": ANY, "versions": None},
    omniverse.OmniverseConfiguration: OMNIVERSE,
    omniverse.WasmModulePath: {"module_name": NEEDED, "file_path": NEEDED, "entry_point": ANY, "description": ANY},
    omniverse.OmniExtensionDep: {"extension_name": NEEDED, "version_requirement": ANY},
    omniverse.ExampleScenario: {"name": NEEDED, "description": ANY, "scenario_file": None, "documentation": ANY},
    distribution.DistributionConfiguration: DISTRIBUTION,
    distribution.PublishMetadata: {
        "author": ANY,
        "maintainer": ANY,
        "homepage": None,
        "repository": None,
        "documentation_url": None,
        "keywords": (),
        "categories": (),
    },
}
WORDS: dict[type[base.Choice], str] = {
    package.OperationMode: "script library",
    package.ApiDocFormat: "OpenAPI GRPC Both",
    container.ContainerRuntime: "Docker Podman",
    container.WasmRuntime: "Wasmtime Wasmer WasmEdge",
    triton.TritonPlatform: "WasmABI Python",
    triton.InstanceKind: "CPU GPU AUTO MODEL",  # with Triton's own two
    tensors.DataType: "BOOL UINT8 UINT16 UINT32 UINT64 INT8 INT16 INT32 INT64 FP16 BF16 FP32 FP64 STRING BYTES",
    tensors.TensorFormat: "Linear NHWC NCHW",
    scheduling.ControlType: "Start Ready End CorrelationId",
    triton.VersionPolicyType: "All Specific",
    omniverse.IntegrationType: "Simulation Renderer Tool DataProcessor",
    distribution.ArchiveFormat: "TarGz TarBz2 TarXz Zip TarZst",
    distribution.ManifestFormat: "JSON YAML TOML",
    distribution.ReadmeFormat: "Markdown PlainText RestructuredText",
    distribution.ChecksumAlgorithm: "SHA256 SHA512 Blake3",
    DocumentFormat: "Markdown HTML PDF",
}


@pytest.mark.parametrize("model", STRUCTURES, ids=lambda model: str(model.__name__))
def test_a_structure_has_every_field_of_the_requirements_with_its_default(model: type[BaseModel]) -> None:
    for name, default in STRUCTURES[model].items():
        field = model.model_fields[name]
        assert field.is_required() == (default is NEEDED), name
        if default is not NEEDED and default is not ANY:
            assert field.get_default(call_default_factory=True) == default, name


@pytest.mark.parametrize("choice", WORDS, ids=lambda choice: str(choice.__name__))
def test_an_enum_has_every_word_of_the_requirements(choice: type[base.Choice]) -> None:
    assert [str(word) for word in choice] == WORDS[choice].split()


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (triton.TritonConfiguration, {"platform": {"Custom": "mine"}}),
        (triton.TritonConfiguration, {"version_policy": {"policy": {"Latest": 2}}}),
        (omniverse.OmniverseConfiguration, {"integration_type": {"Custom": "mine"}}),
    ],
)
def test_a_word_with_a_value_is_a_table_of_one_key(model: type[BaseModel], data: dict[str, Any]) -> None:
    assert model.model_validate(data).model_dump(mode="json", exclude_unset=True) == data


@pytest.mark.parametrize("written", ["script", "Script", "library", "Library"])
def test_the_mode_is_read_as_both_chapters_write_it(written: str) -> None:
    spec = {
        "package_name": "demo",
        "package_version": "1.0.0",
        "output_directory": "out",
        "wasm_binaries": ["a.wasm"],
        "mode": written,
    }
    assert package.PackagingConfiguration.model_validate_json(json.dumps(spec)).mode == written.lower()
