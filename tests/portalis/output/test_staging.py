"""The output directory is written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path, PurePosixPath

import pytest

from portalis import atomic_files
from portalis.errors import UsageError
from portalis.output import REPORT, CopiedFile, OutputTree, Staging, refuse_foreign_directory
from tests.parts import ROOT


def tree(**files: bytes | CopiedFile) -> OutputTree:
    made = OutputTree()
    for name, content in files.items():
        made.add(name.replace("__", "/"), content)
    return made


def around(output: Path) -> list[str]:
    return sorted(path.name for path in output.parent.iterdir())


def test_what_is_committed_is_there_with_its_size_and_hash(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"module" * 1000)
    output = tmp_path / "out"
    with Staging(output) as staging:
        written = list(staging.write(tree(a__b=b"bytes", c=CopiedFile(path=source))))
        assert not output.exists()
        staging.commit()
    assert (output / "a/b").read_bytes() == b"bytes"
    assert (output / "c").read_bytes() == source.read_bytes()
    assert [(str(each.path), each.size_bytes) for each in written] == [("a/b", 5), ("c", 6000)]
    assert [each.sha256 for each in written] == [hashlib.sha256(d).hexdigest() for d in (b"bytes", source.read_bytes())]
    assert around(output) == ["out", "source"]


def test_without_a_commit_nothing_is_left_and_the_old_one_stays(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "old").write_text("old")

    def interrupted() -> None:
        with Staging(output) as staging:
            list(staging.write(tree(new=b"new")))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert around(output) == ["out"]
    assert [path.name for path in output.iterdir()] == ["old"]


def test_parent_directories_are_created_and_removed_again(tmp_path: Path) -> None:
    output = tmp_path / "a" / "b" / "out"
    with Staging(output):
        assert output.parent.is_dir()
    assert not (tmp_path / "a").exists()
    with Staging(output) as staging:
        list(staging.write(tree(x=b"1")))
        staging.commit()
    assert (output / "x").read_bytes() == b"1"


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_directory_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanges: bool) -> None:
    if not exchanges:
        monkeypatch.setattr(atomic_files, "_exchange", lambda one, other: False)
    output = tmp_path / "out"
    for content in (b"1", b"2"):
        with Staging(output) as staging:
            list(staging.write(tree(**{f"only{content.decode()}": content})))
            staging.commit()
    assert [path.name for path in output.iterdir()] == ["only2"]
    assert around(output) == ["out"]


def test_where_nothing_can_be_exchanged_a_failure_puts_the_old_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic_files, "_exchange", lambda one, other: False)
    new, place = tmp_path / "new", tmp_path / "place"
    place.mkdir()
    (place / "old").touch()
    with pytest.raises(FileNotFoundError):
        atomic_files.replace_folder(new, place)
    assert [path.name for path in place.iterdir()] == ["old"]


def test_there_is_no_moment_without_a_directory(tmp_path: Path) -> None:
    output = tmp_path / "out"

    def write(mark: bytes) -> None:
        with Staging(output) as staging:
            list(staging.write(tree(a=mark)))
            staging.commit()

    write(b"0")
    looks, missing, ends = [0], [0], threading.Event()

    def look() -> None:
        while not ends.is_set():
            looks[0] += 1
            missing[0] += not (output / "a").exists()

    reader = threading.Thread(target=look)
    reader.start()
    try:
        i = 0
        while i < 50 or (looks[0] <= 50 and reader.is_alive()):
            write(str(i).encode())
            i += 1
    finally:
        ends.set()
        reader.join()
    assert looks[0] > 50
    assert missing[0] == 0


KILLED = """
import os, signal, sys
from pathlib import Path
from portalis.output import OutputTree, Staging
tree = OutputTree()
tree.add("half", b"half")
with Staging(Path(sys.argv[1])) as staging:
    list(staging.write(tree))
    print(staging.folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(output: Path) -> Path:
    done = subprocess.run([sys.executable, "-c", KILLED, str(output)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return Path(done.stdout.strip())


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "old").touch()
    left = killed(output)
    assert (left / "half").is_file()
    assert (output / "old").is_file()
    with Staging(output):
        assert not left.exists()
    assert around(output) == ["out"]


def test_a_run_that_is_still_at_work_is_left_alone(tmp_path: Path) -> None:
    with Staging(tmp_path / "out") as first, Staging(tmp_path / "out") as second:
        assert first.folder.is_dir()
        assert second.folder.is_dir()


def test_another_outputs_staging_folder_is_left_alone(tmp_path: Path) -> None:
    left = killed(tmp_path / "out-2")
    with Staging(tmp_path / "out"):
        assert left.is_dir()


def test_a_source_that_has_changed_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "module.wasm"
    source.write_bytes(b"1")
    wanted = CopiedFile(path=source, sha256=hashlib.sha256(b"0").hexdigest())
    with Staging(tmp_path / "out") as staging, pytest.raises(UsageError, match="has changed during packaging"):
        list(staging.write(tree(m=wanted)))


def test_executables_are_executable_and_the_umask_holds(tmp_path: Path) -> None:
    made = OutputTree()
    made.add("run", b"", executable=True)
    made.add("read", b"")
    before = os.umask(0o027)
    try:
        with Staging(tmp_path / "out") as staging:
            list(staging.write(made))
            staging.commit()
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()}
    assert modes == {"run": 0o750, "read": 0o640}
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o750


def test_discarded_files_go_with_their_empty_folders(tmp_path: Path) -> None:
    with Staging(tmp_path / "out") as staging:
        list(staging.write(tree(a__b__c=b"1", a__d=b"2")))
        staging.discard([PurePosixPath("a/b/c")])
        assert sorted(str(p.relative_to(staging.folder)) for p in staging.folder.rglob("*")) == ["a", "a/d"]
        assert set(staging.files) == {PurePosixPath("a/d")}


def test_a_file_that_a_tool_wrote_is_adopted(tmp_path: Path) -> None:
    with Staging(tmp_path / "out") as staging:
        (staging.folder / "image.tar").write_bytes(b"tar")
        assert staging.adopt(PurePosixPath("image.tar")).size_bytes == 3
        with pytest.raises(FileNotFoundError):
            staging.adopt(PurePosixPath("nothing"))


@pytest.mark.parametrize(
    ("files", "refused"), [([], False), ([REPORT, "x"], False), (["x"], True), ([".hidden"], True)]
)
def test_only_what_a_run_has_written_may_be_replaced(tmp_path: Path, files: list[str], refused: bool) -> None:
    output = tmp_path / "out"
    output.mkdir()
    for name in files:
        (output / name).touch()
    if refused:
        with pytest.raises(UsageError, match="was not written by portalis"):
            refuse_foreign_directory(output)
    else:
        refuse_foreign_directory(output)
    refuse_foreign_directory(tmp_path / "nothing")
