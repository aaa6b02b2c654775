"""A new spec: what is in it, and that it is data whatever the modules and their files are called."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import tomlkit
import wasmtime
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portalis.annotation import replace_interfaces
from portalis.problems import InputProblems
from portalis.spec_file import NewSpec, spec_file
from tests.portalis.conftest import ADD
from tests.portalis.pipeline.conftest import OPAQUE

UNKNOWN_IMPORT = """(module (import "env" "mystery" (func))
  (func (export "add") (param f32 f32) (result f32) local.get 0))"""


def module(path: Path, wat: str = ADD) -> Path:
    path.write_bytes(wasmtime.wat2wasm(wat))
    return path


def new(folder: Path, *modules: Path, name: str | None = None, version: str = "0.1.0") -> NewSpec:
    return spec_file(modules, folder=folder, name=name, version=version)


def test_it_is_commented_toml_with_a_block_for_each_module(tmp_path: Path) -> None:
    made = new(tmp_path, module(tmp_path / "add.wasm"), module(tmp_path / "more.wasm"))
    assert made.text.endswith('model_name = "more" # the name for clients\n')
    assert "\n\n\n" not in made.text
    assert (
        "\n\n[[wasm_binaries]]\n# 50 bytes\n# elementwise entry add, batches of at most 64\n# -> a FP32 [-1]\n"
        in re.sub(r"\d+ bytes", "50 bytes", made.text)
    )
    data = tomlkit.parse(made.text).unwrap()
    assert (data["package_name"], data["package_version"], data["output_directory"]) == ("add", "0.1.0", "package")
    assert [each["path"] for each in data["wasm_binaries"]] == ["add.wasm", "more.wasm"]
    assert made.notes == ()


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("softmax", "softmax"),
        ("Soft-Max.v2", "soft_max_v2"),
        ("héllo wörld", "hello_world"),
        ("7", "module_7"),
        ("数", "module"),
        ("!!", "module"),
        ("...", "module"),
        ("__x__", "x"),
        ("x" * 200, "x" * 40),
        ("class", "class"),
    ],
)
def test_a_module_gets_a_name_that_every_target_takes(tmp_path: Path, stem: str, name: str) -> None:
    (binary,) = new(tmp_path, module(tmp_path / f"{stem}.wasm")).spec.wasm_binaries
    assert (binary.name, binary.path) == (name, tmp_path / f"{stem}.wasm")


def test_names_that_clash_are_numbered_and_none_is_given_twice(tmp_path: Path) -> None:
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
    modules = [
        module(tmp_path / "a" / "x.wasm"),
        module(tmp_path / "x_1.wasm"),
        module(tmp_path / "b" / "X.wasm"),
        module(tmp_path / "c" / "x.wasm"),
    ]
    names = [each.name for each in new(tmp_path, *modules).spec.wasm_binaries]
    assert names == ["x_2", "x_1", "x_3", "x_4"]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=40).filter(
            lambda name: len(name.encode()) < 200
        ),
        min_size=1,
        max_size=4,
        unique=True,
    )
)
def test_files_of_any_name_are_found_without_further_notes(tmp_path: Path, stems: list[str]) -> None:
    modules = [module(tmp_path / f"{stem}.wasm") for stem in stems]
    made = new(tmp_path, *modules)
    assert [each.path for each in made.spec.wasm_binaries] == modules
    assert len({each.name for each in made.spec.wasm_binaries}) == len(modules)
    assert set(tomlkit.parse(made.text).unwrap()) == {
        "package_name",
        "package_version",
        "description",
        "output_directory",
        "enable_triton_integration",
        "enable_distribution_archive",
        "enable_nim_packaging",
        "enable_omniverse_packaging",
        "wasm_binaries",
    }


def test_what_a_module_says_of_itself_stays_in_the_comment(tmp_path: Path) -> None:
    name = r"x\0aenable_nim_packaging = true\0d\1b[31m\7f"  # in the text format's own escapes
    wat = f'(module (func (export "{name}") (param f32) (result f32) local.get 0))'
    made = new(tmp_path, module(tmp_path / "add.wasm", wat))
    assert not made.spec.enable_nim_packaging
    assert r"entry x\nenable_nim_packaging = true\r\x1b[31m\x7f," in made.text


def test_odd_tensor_names_stay_in_the_comment_too(tmp_path: Path) -> None:
    path = tmp_path / "add.wasm"
    entry = {
        "entry": "add",
        "convention": "elementwise",
        "inputs": [{"name": n, "dtype": "FP32", "dims": [-1]} for n in ("a b", 'q"]')],
        "outputs": [{"name": "größe", "dtype": "FP32", "dims": [-1]}],
    }
    path.write_bytes(replace_interfaces(bytes(wasmtime.wat2wasm(ADD)), [entry], where="add.wasm"))
    made = new(tmp_path, path)
    assert '# -> q"] FP32 [-1]\n# <- größe FP32 [-1]\n' in made.text


def test_a_module_without_an_interface_is_left_out_in_a_comment_where_others_have_one(tmp_path: Path) -> None:
    made = new(
        tmp_path,
        module(tmp_path / "opaque.wasm", OPAQUE),
        module(tmp_path / "add.wasm"),
        module(tmp_path / "outside.wasm", UNKNOWN_IMPORT),
    )
    assert [each.name for each in made.spec.wasm_binaries] == ["add"]
    assert made.spec.enable_triton_integration
    opaque, outside = made.notes
    assert opaque.startswith("note: opaque cannot be a Triton model yet, and is commented out: ")
    assert "may take pointers" in opaque
    assert "env.mystery" in outside


def test_without_the_first_mark_of_each_line_the_comment_is_the_modules_part(tmp_path: Path) -> None:
    made = new(tmp_path, module(tmp_path / "opaque.wasm", OPAQUE), module(tmp_path / "add.wasm"))
    rest, _, part = made.text.partition("# Excluded")
    lines = part.partition("\n")[2].splitlines()
    assert all(line.startswith("# ") for line in lines)
    data = tomlkit.parse(rest + "\n".join(line[2:] for line in lines)).unwrap()
    assert [each["name"] for each in data["wasm_binaries"]] == ["add", "opaque"]


def test_where_no_module_has_an_interface_all_are_archived_and_triton_is_off(tmp_path: Path) -> None:
    made = new(tmp_path, module(tmp_path / "opaque.wasm", OPAQUE), module(tmp_path / "outside.wasm", UNKNOWN_IMPORT))
    assert [each.name for each in made.spec.wasm_binaries] == ["opaque", "outside"]
    assert not made.spec.enable_triton_integration
    assert made.spec.enable_distribution_archive
    assert made.notes[0] == "note: no module can be a Triton model yet, so enable_triton_integration is false"
    assert len(made.notes) == 3


def test_the_output_is_a_folder_that_can_be_replaced(tmp_path: Path) -> None:
    add = module(tmp_path / "add.wasm")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "mine.txt").touch()
    (tmp_path / "package_2").touch()
    (tmp_path / "package_3").mkdir()
    inside = module(tmp_path / "package_3" / "more.wasm")
    (tmp_path / "package_3" / "packaging-report.json").touch()
    assert new(tmp_path, add, inside).spec.output_directory == tmp_path / "package_4"
    inside.unlink()
    assert new(tmp_path, add).spec.output_directory == tmp_path / "package_3"


def test_paths_are_relative_to_the_spec_also_through_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / "deep" / "er"
    deep.mkdir(parents=True)
    (tmp_path / "link").symlink_to(deep)
    add = module(tmp_path / "add.wasm")
    monkeypatch.chdir(tmp_path)
    for folder in (deep, tmp_path / "link"):
        made = new(folder, Path("add.wasm"))
        assert tomlkit.parse(made.text).unwrap()["wasm_binaries"][0]["path"] == "../../add.wasm"
        assert made.spec.wasm_binaries[0].path.samefile(add)


def test_all_invalid_modules_are_reported_together(tmp_path: Path) -> None:
    (tmp_path / "text.wasm").write_text("not a module")
    broken = tmp_path / "broken.wasm"
    broken.write_bytes(wasmtime.wat2wasm(ADD)[:-2])
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.wasm"))
    odd.write_bytes(wasmtime.wat2wasm(ADD))
    with pytest.raises(InputProblems) as caught:
        new(tmp_path, tmp_path / "text.wasm", tmp_path / "gone.wasm", broken, odd, module(tmp_path / "add.wasm"))
    assert [problem.where for problem in caught.value.problems] == [
        str(tmp_path / "text.wasm"),
        str(tmp_path / "gone.wasm"),
        str(broken),
        str(odd),
    ]
    assert caught.value.problems[3].message == "its name is not UTF-8, which a spec file requires"
    assert all(not problem.message.startswith("/") for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("name", "version", "where"),
    [("", "0.1.0", "package_name"), ("x", "1", "package_version"), ("\0", "1.0.0", "package_name")],
)
def test_an_invalid_name_or_version_is_reported_before_anything_is_written(
    tmp_path: Path, name: str, version: str, where: str
) -> None:
    with pytest.raises(InputProblems) as caught:
        new(tmp_path, module(tmp_path / "add.wasm"), name=name, version=version)
    assert [problem.where for problem in caught.value.problems] == [where]


@pytest.mark.parametrize("name", ["q\"uo'te", "back\\slash", "new\nline = 1", "#hash", "[table]", "ünïcode"])
def test_a_package_name_is_data(tmp_path: Path, name: str) -> None:
    made = new(tmp_path, module(tmp_path / "add.wasm"), name=name)
    assert made.spec.package_name == name
    assert len(made.spec.wasm_binaries) == 1
