"""The files of a model: their paths, the copied data files, and the versions of previous runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from portalis import wasm_backend
from tests.model_repository_gen import jobs
from tests.model_repository_gen.jobs import REPOSITORY

X = {"name": "x", "data_type": "FP32", "dims": [-1]}
Y = {"name": "y", "data_type": "FP32", "dims": [-1]}


def test_a_model_is_a_configuration_and_a_version_with_the_module(tmp_path: Path) -> None:
    written = jobs.Written(jobs.make(tmp_path, "echo", model_version=7))
    assert written.files() == ["demo_echo/7/model.wasm", "demo_echo/config.pbtxt"]
    assert (written.repository / "demo_echo/7/model.wasm").read_bytes() == jobs.MODULES["echo"]
    assert written.config("demo_echo").name == "demo_echo"


def test_a_python_model_contains_the_runtime(tmp_path: Path) -> None:
    written = jobs.Written(jobs.make(tmp_path, "echo", platform="Python"))
    version = written.repository / "demo_echo" / "1"
    assert (version / "model.wasm").read_bytes() == jobs.MODULES["echo"]
    assert (version / "model.py").read_text() == wasm_backend.MODEL_PY
    island = {str(relative): path.read_bytes() for relative, path in wasm_backend.island_files()}
    folder = version / wasm_backend.ISLAND_NAME
    assert {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()} == island
    assert written.models["demo_echo"].platform == "python"


def test_the_repository_is_at_the_path_of_the_spec(tmp_path: Path) -> None:
    written = jobs.Written(jobs.make(tmp_path, "echo", model_repository_path="serving/models"))
    artifact = written.models["demo_echo"]
    out = tmp_path / "out"
    assert artifact.model_repository_path == str(out / "serving/models/demo_echo")
    assert artifact.config_pbtxt_path == str(out / "serving/models/demo_echo/config.pbtxt")
    assert artifact.wasm_model_paths == (str(out / "serving/models/demo_echo/1/model.wasm"),)
    assert all(Path(path).is_file() for path in (artifact.config_pbtxt_path, *artifact.wasm_model_paths))


def test_label_files_warm_up_data_and_initial_states_are_copied_to_tritons_directories(tmp_path: Path) -> None:
    for name in ("labels.txt", "x.raw", "state.raw"):
        (tmp_path / name).write_bytes(name.encode() * 8)
    state = {"name": "s", "data_type": "INT8", "dims": [1], "initial_state_file": "state.raw"}
    sample = {"name": "w", "inputs": {"x": {**X, "dims": [2], "input_data_file": "x.raw"}}}
    del sample["inputs"]["x"]["name"]  # type: ignore[index]
    written = jobs.Written(
        jobs.make(
            tmp_path,
            "unbatched",
            platform={"Custom": "mine"},
            outputs=[{**Y, "label_filename": "labels.txt"}, {**Y, "name": "z", "label_filename": "labels.txt"}],
            warmup=[sample, sample],
            sequence_batching={"states": [state]},
        )
    )
    assert written.files() == [
        "demo_unbatched/1/model.wasm",
        "demo_unbatched/config.pbtxt",
        "demo_unbatched/initial_state/state.raw",
        "demo_unbatched/labels.txt",
        "demo_unbatched/warmup/x.raw",
    ]
    for path in (path for path in written.files() if Path(path).name in ("labels.txt", "x.raw", "state.raw")):
        assert (written.repository / path).read_bytes() == Path(path).name.encode() * 8
    assert written.models["demo_unbatched"].validated, written.errors()


def chain(**more: Any) -> dict[str, Any]:
    steps = [{"model_name": "unbatched", "input_map": {"x": "in"}, "output_map": {"y": "out"}}]
    return {"name": "chain", "inputs": [{**X, "name": "in"}], "outputs": [{**Y, "name": "out"}], "steps": steps, **more}


def test_an_ensemble_has_a_version_that_is_not_empty_and_its_label_files(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("one\n")
    outputs = [{**Y, "name": "out", "label_filename": "labels.txt"}]
    written = jobs.Written(jobs.make(tmp_path, "unbatched", ensembles=[chain(version=3, outputs=outputs)]))
    assert [path for path in written.files() if path.startswith("chain/")] == [
        "chain/3/.keep",
        "chain/config.pbtxt",
        "chain/labels.txt",
    ]
    assert (written.repository / "chain/labels.txt").read_text() == "one\n"
    artifact = written.models["chain"]
    assert (artifact.platform, artifact.model_version, artifact.wasm_model_paths) == ("ensemble", 3, ())
    assert (artifact.validated, artifact.instance_count) == (True, 0)


def test_kept_versions_are_the_models_other_numbered_directories(tmp_path: Path) -> None:
    earlier = tmp_path / "earlier" / REPOSITORY / "demo_echo"
    for name in ("1", "2", "10", "0", "03", "٣", "-1", "warmup", "x"):
        (earlier / name).mkdir(parents=True)
        (earlier / name / "model.wasm").write_bytes(jobs.MODULES["echo"])
    (earlier / "4").write_text("a file")
    (earlier / "2" / "deep").mkdir()
    (earlier / "2" / "deep" / "file").write_text("kept")
    versions = {"policy": "All"}
    spec = jobs.make(tmp_path, "echo", model_version=2, keep_versions=True, version_policy=versions)
    written = jobs.Written(spec, previous=tmp_path / "earlier")
    assert written.files() == [
        "demo_echo/1/model.wasm",
        "demo_echo/10/model.wasm",
        "demo_echo/2/model.wasm",
        "demo_echo/config.pbtxt",
    ]
    again = jobs.make(tmp_path, "echo", model_version=3, keep_versions=True, version_policy=versions)
    assert "demo_echo/2/deep/file" in jobs.Written(again, previous=tmp_path / "earlier").files()
    alone = jobs.make(tmp_path, "echo", model_version=3, version_policy=versions)
    assert jobs.Written(alone, previous=tmp_path / "earlier").files() == [
        "demo_echo/3/model.wasm",
        "demo_echo/config.pbtxt",
    ]


@pytest.mark.parametrize(
    ("policy", "unserved"),
    [
        ({"policy": "All"}, ""),
        ({"policy": {"Latest": 3}}, ""),
        ({"policy": {"Latest": 2}}, "1"),
        ({"policy": {"Latest": 1}}, "1, 2"),
        ({"policy": "Specific", "versions": [2, 3]}, "1"),
        ({"policy": "Specific", "versions": [1]}, "2, 3"),
    ],
)
def test_a_version_that_is_not_served_is_a_warning(tmp_path: Path, policy: dict[str, Any], unserved: str) -> None:
    jobs.Written(jobs.make(tmp_path, "echo", model_version=1))
    both = jobs.make(tmp_path, "echo", model_version=2, keep_versions=True)
    jobs.Written(both, previous=tmp_path / "out")
    third = jobs.make(tmp_path, "echo", model_version=3, keep_versions=True, version_policy=policy)
    written = jobs.Written(third, previous=tmp_path / "out")
    assert len(written.files()) == 4
    expected = f"version {unserved} of model 'demo_echo' is in the repository, but its version policy does not serve it"
    assert written.warnings() == ([expected] if unserved else [])
    assert written.models["demo_echo"].validated
