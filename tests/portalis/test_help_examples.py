"""Every example of every `--help` works as it stands, in a folder with the files that it names."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
import wasmtime

from portalis.backend import Program
from portalis.cli.app import app
from portalis.dist.attest.keys import load_private_key
from portalis.examples.catalog import EXAMPLES
from portalis.tritonserver import Ports
from tests import parts
from tests.backend import guests
from tests.running import commands
from tests.running.ports import free_ports

from .conftest import write_model
from .test_cli_run import free, running
from .test_cli_serve import serving


def examples() -> Iterator[str]:
    """The command lines behind the words "Example:" and "Examples:" of all commands."""
    group = typer.main.get_command(app)
    for command in group.commands.values():  # type: ignore[attr-defined]
        for text in re.findall(r"Examples?:(.*)", command.help or "", re.DOTALL):
            for line in re.split(r";|\n", text):
                if line.strip().startswith("portalis "):
                    yield line.strip()


def in_shell(example: str, folder: Path, *more: str, code: int = 0, **environment: str) -> str:
    """Run an example as a shell does; `more` are further arguments. What it printed."""
    line, redirect, target = example.partition(" > ")
    words = [*shlex.split(line)[1:], *more]
    done = commands.portalis(*words, folder=folder, environment=os.environ | environment)
    assert done.returncode == code, done.stdout + done.stderr
    if redirect:
        (folder / target.strip()).write_text(done.stdout)
    return done.stdout + done.stderr


def module(folder: Path, name: str) -> Path:
    return Path(shutil.copyfile(EXAMPLES[name].module, folder / f"{name}.wasm"))


def annotated(example: str, folder: Path) -> None:
    (folder / "k.wasm").write_bytes(wasmtime.wat2wasm(guests.DOUBLE))
    in_shell(example, folder)
    with Program.load(folder / "k.wasm", cache=None) as program:
        assert program.interface.convention.value == "gufunc"


def begun(example: str, folder: Path) -> None:
    for name in ("gelu", "softmax"):
        module(folder, name)
    in_shell(example, folder)
    assert 'package_name = "activations"' in (folder / "portalis.toml").read_text()


def with_a_key(example: str, folder: Path) -> None:
    (folder / "secret.txt").write_text("correct horse\n")
    in_shell(example, folder)
    assert load_private_key(folder / "release.key", b"correct horse").public.keyid


def with_a_schema(example: str, folder: Path) -> None:
    in_shell(example, folder)
    assert json.loads((folder / "portalis.schema.json").read_text())["properties"]["package_name"]


def with_a_backend(example: str, folder: Path) -> None:
    in_shell(example.replace("/opt", f"{folder}/opt"), folder)
    assert (folder / "opt/tritonserver/backends/wasm/model.py").is_file()


def without_publishing(example: str, folder: Path) -> None:
    module(folder, "gelu")
    in_shell("portalis init gelu.wasm", folder)
    in_shell("portalis package -o out", folder)
    assert "registry.example.com/team/" in in_shell(example, folder)


def in_this_process(example: str, folder: Path) -> None:
    module(folder, "softmax")
    assert json.loads(in_shell(example, folder))["outputs"]


def up_to_the_engine(example: str, folder: Path) -> None:
    """Tests with an engine cover the images; here the command fails when it connects to an engine."""
    module(folder, "gelu")
    in_shell("portalis init gelu.wasm", folder)
    nowhere = f"unix://{folder}/none.sock"
    output = in_shell(example, folder, code=1, CONTAINER_HOST=nowhere, DOCKER_HOST=nowhere)
    assert "cannot connect to a " in output


WITHOUT_SERVERS: dict[str, Callable[[str, Path], None]] = {
    "portalis annotate k.wasm --signature '(n)->(n)' -i 'x:FP32[-1]' --output 'y:FP32[-1]' --in-place": annotated,
    "portalis build-images --engine podman --export": up_to_the_engine,
    "portalis build-images --triton": up_to_the_engine,
    "portalis infer --module softmax.wasm -i 'x=[1,2,3]' --json": in_this_process,
    "portalis init gelu.wasm softmax.wasm --name activations": begun,
    "portalis install-backend /opt/tritonserver/backends": with_a_backend,
    "portalis keygen release --passphrase-file secret.txt": with_a_key,
    "portalis publish out --registry registry.example.com/team --dry-run": without_publishing,
    "portalis schema > portalis.schema.json": with_a_schema,
}
ON_A_SERVICE = (
    "portalis run softmax.wasm",
    "portalis run portalis.toml --http-port 8080 --log-level debug",
    "portalis infer -m softmax -i 'x=[1,2,3]'",
    "portalis infer -m image_preprocess -i image=@photo.jpg -o pixels=@pixels.npy",
)
ON_TRITON = (
    "portalis package --only triton --validate live",
    "portalis serve models -- --model-control-mode=explicit --load-model=softmax",
)


def test_every_example_is_run_here() -> None:
    assert sorted(examples()) == sorted([*WITHOUT_SERVERS, *ON_A_SERVICE, *ON_TRITON])


@pytest.mark.parametrize("example", WITHOUT_SERVERS)
def test_an_example_works_as_it_stands(example: str, tmp_path: Path) -> None:
    WITHOUT_SERVERS[example](example, tmp_path)


@pytest.mark.service
def test_the_examples_of_run_and_infer_work(tmp_path: Path) -> None:
    """The ports are others than those of the examples, which may be in use."""
    from PIL import Image

    single, of_a_spec, asked, with_files = ON_A_SERVICE
    module(tmp_path, "softmax")
    module(tmp_path, "image_preprocess")
    Image.new("RGB", (64, 64), (10, 200, 30)).save(tmp_path / "photo.jpg")
    in_shell("portalis init softmax.wasm image_preprocess.wasm", tmp_path)
    with running(*shlex.split(single)[2:], *free(), cwd=tmp_path) as service:
        service.line_with("ready; Ctrl-C stops")
        assert service.end(signal.SIGINT) == 0
    with running(*shlex.split(of_a_spec)[2:], *free(), cwd=tmp_path) as service:
        (url,) = re.findall(r"gRPC (127\.0\.0\.1:\d+)", service.line_with("gRPC"))
        service.line_with("ready; Ctrl-C stops")
        assert "0.09" in in_shell(asked, tmp_path, "--url", url)
        in_shell(with_files, tmp_path, "--url", url)
        assert (tmp_path / "pixels.npy").is_file()


@pytest.mark.triton
def test_the_examples_of_package_and_serve_work(tmp_path: Path) -> None:
    parts.tritonserver()
    validated, served = ON_TRITON
    module(tmp_path, "softmax")
    in_shell("portalis init softmax.wasm", tmp_path)
    in_shell(validated, tmp_path)
    ports: Ports = free_ports()
    models = tmp_path / "models"
    write_model(models, "other")
    version = models / "softmax" / "1"
    version.mkdir(parents=True)
    shutil.copyfile(tmp_path / "softmax.wasm", version / "model.wasm")
    (models / "softmax" / "config.pbtxt").write_text('backend: "wasm"\n')
    words = shlex.split(served)
    assert words[:3] == ["portalis", "serve", "models"]
    with serving(models, ports, *words[3:]) as foreground:
        foreground.wait_for("ready; Ctrl-C stops")
        assert "model softmax version 1 ready" in foreground.output
        assert foreground.end(signal.SIGINT) == 0
