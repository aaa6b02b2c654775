"""The invariants and preconditions of the input contract (requirements 4.1), and what keeps inputs from being lost."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from portalis.spec.invariants import TARGETS

from .conftest import Folder


@pytest.mark.parametrize(
    ("changes", "where", "message"),
    [
        (dict.fromkeys(TARGETS, False), "", "no packaging target is enabled"),
        ({"package_name": ""}, "package_name", "it is empty"),
        (
            {"container_config": {"service_port": 8005, "metrics_port": 8005}},
            "container_config.metrics_port",
            "service_port and metrics_port are both 8005",
        ),
        ({"triton_config": {"model_version": 0}}, "triton_config.model_version", "0 is less than 1"),
        (
            {"triton_config": {"inputs": [{"name": "x", "data_type": "FP32", "dims": [0]}]}},
            "triton_config.inputs[0].dims[0]",
            "expected a size of 1 or more, or -1 for any size, got 0",
        ),
        (
            {"triton_config": {"outputs": [{"name": "x", "data_type": "FP32", "dims": [-2]}]}},
            "triton_config.outputs[0].dims[0]",
            "expected a size of 1 or more, or -1 for any size, got -2",
        ),
        (
            {"triton_config": {"version_policy": {"versions": [1]}}},
            "triton_config.version_policy.versions",
            "versions are listed, but the policy is not Specific",
        ),
        (
            {"triton_config": {"version_policy": {"policy": "Specific", "versions": []}}},
            "triton_config.version_policy.versions",
            "the policy Specific requires a list of versions",
        ),
        (
            {"publish_to_registry": True},
            "registry_url",
            "publish_to_registry is true, but no registry is named",
        ),
        (
            {"container_config": {"gpu_count": 1}},
            "container_config.gpu_count",
            "gpu_count is set, but gpu_required is false",
        ),
        (
            {"container_config": {"volumes": [{"host_path": "/a", "container_path": "b"}]}},
            "container_config.volumes[0].container_path",
            "expected an absolute path, got 'b'",
        ),
        (
            {"wasm_binaries": ["add.wasm", {"path": "./add.wasm"}]},
            "wasm_binaries[1]",
            "2 modules are named 'add' (wasm_binaries[0], wasm_binaries[1])",
        ),
        *(
            (
                {"triton_config": {"model_repository_path": path}},
                "triton_config.model_repository_path",
                f"expected a directory inside the output directory, got {path!r}",
            )
            for path in ("/srv/models", "../models", ".", "a/../../b")
        ),
        (
            {"wasm_binaries": [{"path": "add.wasm", "triton_config": {"ensembles": []}}]},
            "wasm_binaries[0].triton_config.ensembles",
            "ensembles applies to the whole package",
        ),
    ],
)
def test_a_broken_rule_is_reported(folder: Folder, changes: dict[str, Any], where: str, message: str) -> None:
    assert folder.wrong(**changes) == [(where, message)]


@pytest.mark.parametrize("version", ["1", "1.0", "v1.0.0", "01.0.0", "1.0.0 ", "1.0.0\n", "١.0.0", "1.0.0-", ""])
def test_a_version_has_to_be_semantic(folder: Folder, version: str) -> None:
    assert [where for where, _ in folder.wrong(package_version=version)] == ["package_version"]


@pytest.mark.parametrize("version", ["0.0.0", "1.2.3-rc.1", "1.0.0+build.5", "10.20.30-alpha.0+001"])
def test_a_semantic_version_is_accepted(folder: Folder, version: str) -> None:
    assert folder.read(package_version=version).package_version == version


@pytest.mark.parametrize(
    ("written", "seconds"), [(1, 1), (90, 90), ("90s", 90), ("2m", 120), ("1h30m", 5400), ("1h1m1s", 3661)]
)
def test_a_duration_is_seconds_or_hours_minutes_and_seconds(folder: Folder, written: object, seconds: int) -> None:
    config = folder.read(container_config={"health_check_interval": written}).container_config
    assert config.health_check_interval == seconds


@pytest.mark.parametrize(
    "written", ["", " 30s", "30s\n", "30", "1.5m", "-1s", "30S", "1s1m", "٣s", "9" * 5000 + "s", "0s", 0]
)
def test_what_is_no_duration_is_refused(folder: Folder, written: object) -> None:
    ((where, _),) = folder.wrong(container_config={"health_check_interval": written})
    assert where == "container_config.health_check_interval"


@pytest.mark.parametrize("key", ["memory_limit", "cpu_limit"])
def test_amounts_are_those_of_kubernetes(folder: Folder, key: str) -> None:
    good = {"memory_limit": ["512Mi", "2Gi", "1000000", "1G"], "cpu_limit": ["500m", "2", "0.5", "1.5"]}[key]
    for value in good:
        assert getattr(folder.read(container_config={key: value}).container_config, key) == value
    for value in ("", "0", "2GB", "1 Gi", "-1", "0.0", "1e3", "٢", "2\n"):
        assert [where for where, _ in folder.wrong(container_config={key: value})] == [f"container_config.{key}"]


def make_odd_files(folder: Path) -> None:
    (folder / "folder.wasm").mkdir()
    os.mkfifo(folder / "fifo.wasm")
    (folder / "loop.wasm").symlink_to("loop.wasm")
    (folder / "gone.wasm").symlink_to("nowhere")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing.wasm", "does not exist"),
        ("gone.wasm", "does not exist"),
        ("folder.wasm", "is a directory, not a regular file"),
        ("fifo.wasm", "is a FIFO, not a regular file"),
        ("/dev/null", "is a device, not a regular file"),
        ("loop.wasm", "cannot be read: Too many levels of symbolic links"),
        ("add.wasm/x.wasm", "cannot be read: Not a directory"),
        ("x" * 300, "cannot be read: File name too long"),
        ("", "is a directory, not a regular file"),
    ],
)
def test_every_input_has_to_be_a_file(folder: Folder, path: str, message: str) -> None:
    make_odd_files(folder.path)
    found = folder.wrong(
        wasm_binaries=["add.wasm", path],
        test_results=path,
        omniverse_config={"extension_icon": path},
        container_config={"wheelhouse": "add.wasm"},
    )
    assert [where for where, _ in found] == [
        "container_config.wheelhouse",
        "omniverse_config.extension_icon",
        "wasm_binaries[1].path",
        "test_results",
    ]
    assert all(text.endswith(message) for _, text in found[1:])
    assert found[0][1].endswith("is not a directory")


def test_a_file_without_read_permission_is_reported(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: mode & os.R_OK == 0)
    ((where, message),) = folder.wrong()
    assert (where, message) == (
        "wasm_binaries[0].path",
        f"{folder.path / 'add.wasm'} cannot be read: permission denied",
    )


def test_the_output_directory_has_to_be_writable(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder.path / "file").touch()
    assert folder.wrong(output_directory="file") == [("output_directory", f"{folder.path / 'file'} is not a directory")]
    ((where, message),) = folder.wrong(output_directory="file/a/b")
    assert (where, message.rpartition(": ")[2]) == ("output_directory", f"{folder.path / 'file'} is not a directory")
    ((_, message),) = folder.wrong(output_directory="x" * 300)
    assert message.endswith("cannot be written: File name too long")
    monkeypatch.setattr(os, "access", lambda path, mode: mode & os.W_OK == 0)
    ((where, message),) = folder.wrong(output_directory="new/out")
    assert (where, message.rpartition(": ")[2]) == ("output_directory", f"{folder.path} is not writable")


def test_an_output_directory_that_would_take_more_with_it_is_refused(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.path / "elsewhere").mkdir()
    (folder.path / "link").symlink_to(folder.path)
    (folder.path / "here").mkdir()
    monkeypatch.chdir(folder.path / "here")
    monkeypatch.setenv("HOME", str(folder.path / "elsewhere"))
    whole = "would be replaced entirely by every run"
    for output, message in (
        ("/", whole),
        ("here", whole),
        ("elsewhere", whole),
        ("elsewhere/../elsewhere", whole),
        (".", "would be replaced together with the spec in it"),
        ("..", "would be replaced together with the spec in it"),
        ("link", "would be replaced together with the spec in it"),
    ):
        ((where, text),) = folder.wrong(output_directory=output)
        assert where == "output_directory"
        assert text.endswith(message), output


def test_the_output_directory_and_the_inputs_are_apart(folder: Folder) -> None:
    (folder.path / "out" / "rust").mkdir(parents=True)
    (folder.path / "out" / "a.wasm").write_bytes((folder.path / "add.wasm").read_bytes())
    assert folder.wrong(wasm_binaries=["out/a.wasm"]) == [
        (
            "output_directory",
            (
                f"{folder.path / 'out'} would be replaced together with the input {folder.path / 'out/a.wasm'}"
                " (wasm_binaries[0].path)"
            ),
        )
    ]
    assert folder.wrong(output_directory="out/rust/target", build_metadata={"workspace_root": "out/rust"}) == [
        (
            "output_directory",
            (
                f"{folder.path / 'out/rust/target'} is inside the input directory {folder.path / 'out/rust'}"
                " (build_metadata.workspace_root)"
            ),
        )
    ]


def test_paths_start_at_the_folder_of_the_spec_and_follow_links_as_the_system_does(folder: Folder) -> None:
    deep = folder.path / "deep" / "er"
    deep.mkdir(parents=True)
    (folder.path / "deep" / "b.wasm").write_bytes((folder.path / "add.wasm").read_bytes())
    (folder.path / "link").symlink_to(deep)
    spec = folder.read(wasm_binaries=["./add.wasm", "link/../b.wasm"], output_directory="link/out")
    assert [module.path for module in spec.wasm_binaries] == [
        folder.path / "add.wasm",
        Path(os.path.realpath(folder.path / "deep" / "b.wasm")),
    ]
    assert spec.output_directory == folder.path / "link" / "out"
