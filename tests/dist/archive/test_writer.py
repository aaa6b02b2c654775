"""Archives as tar and unzip read them; reproducible bytes; bounded memory."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import stat
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from portalis.dist.archive.members import ArchivePlan, Members, bytes_member, file_member
from portalis.dist.archive.writer import ARCHIVE_ENDINGS, write_archive
from portalis.errors import PortalisError
from portalis.spec.distribution import ArchiveFormat
from tests.dist.tars import open_tar
from tests.parts import ROOT

EPOCH = 1714979289  # 2024-05-06T07:08:09Z
NAMES = (
    "README.md",
    "wasm/gelu.wasm",
    "src/deep/er/lib.rs",
    "src/" + "long/" * 40 + "name" * 30 + ".rs",
    "docs/naïve – 資料 😀.md",
    "docs/$(touch x) `id` 'quoted' \"double\" ; &.md",
    "docs/{{ template }}.md",
    "docs/-rf",
    "empty",
)


def content(name: str) -> bytes:
    return b"" if name == "empty" else (name * 50).encode()


def plan(level: int = 6, names: tuple[str, ...] = NAMES, **changes: Any) -> ArchivePlan:
    members = Members(bytes_member(name, content(name), "test") for name in names)
    return dataclasses.replace(ArchivePlan(top="demo-1.2.3", members=members, epoch=EPOCH, level=level), **changes)


def written(path: Path, packed: ArchiveFormat, what: ArchivePlan | None = None) -> Path:
    archive = path / f"demo-1.2.3{ARCHIVE_ENDINGS[packed]}"
    write_archive(what or plan(), archive, packed, lambda _: None)
    return archive


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


TARS = [packed for packed in ArchiveFormat if packed is not ArchiveFormat.Zip]


@pytest.mark.parametrize("packed", TARS)
def test_tar_unpacks_every_name_and_content(tmp_path: Path, packed: ArchiveFormat) -> None:
    archive = written(tmp_path, packed)
    subprocess.run(["tar", "-xf", archive.name], cwd=tmp_path, check=True)
    assert files_below(tmp_path / "demo-1.2.3") == {name: content(name) for name in NAMES}
    with open_tar(archive) as opened:
        infos = opened.getmembers()
    assert {(info.uid, info.gid, info.uname, info.gname, info.mtime) for info in infos} == {(0, 0, "", "", EPOCH)}
    assert {info.mode for info in infos if info.isdir()} == {0o755}
    assert {info.mode for info in infos if info.isfile()} == {0o644}


# unzip replaces non-ASCII characters in its listing: the unpacked files are compared instead
def test_unzip_unpacks_every_name_and_content(tmp_path: Path) -> None:
    archive = written(tmp_path, ArchiveFormat.Zip)
    subprocess.run(["unzip", "-tq", archive.name], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    environment = os.environ | {"LC_ALL": "C.UTF-8"}
    subprocess.run(["unzip", "-q", archive.name], cwd=tmp_path, check=True, env=environment)
    assert files_below(tmp_path / "demo-1.2.3") == {name: content(name) for name in NAMES}


def test_a_zip_has_the_time_in_utc_and_unix_modes(tmp_path: Path) -> None:
    with zipfile.ZipFile(written(tmp_path, ArchiveFormat.Zip)) as opened:
        assert opened.testzip() is None
        infos = opened.infolist()
        assert {info.filename for info in infos if not info.is_dir()} == {f"demo-1.2.3/{name}" for name in NAMES}
    assert {info.date_time for info in infos} == {(2024, 5, 6, 7, 8, 8)}  # in steps of two seconds
    modes = {stat.S_IMODE(info.external_attr >> 16) for info in infos if not info.is_dir()}
    assert modes == {0o644} and {info.create_system for info in infos} == {3}


@pytest.mark.parametrize("epoch", [0, 2**33])
def test_times_outside_the_range_of_zip_are_clamped(tmp_path: Path, epoch: int) -> None:
    with zipfile.ZipFile(written(tmp_path, ArchiveFormat.Zip, plan(epoch=epoch))) as opened:
        assert {info.date_time[0] for info in opened.infolist()} == {1980 if epoch == 0 else 2107}


def test_the_header_of_gzip_has_neither_name_nor_time(tmp_path: Path) -> None:
    head = written(tmp_path, ArchiveFormat.TarGz).read_bytes()[:10]
    assert head[:4] == b"\x1f\x8b\x08\x00" and head[4:8] == bytes(4)


@pytest.mark.parametrize("packed", ArchiveFormat)
def test_the_entries_are_sorted_and_directories_precede_their_contents(tmp_path: Path, packed: ArchiveFormat) -> None:
    archive = written(tmp_path, packed)
    if packed is ArchiveFormat.Zip:
        with zipfile.ZipFile(archive) as opened:
            names = [info.filename.rstrip("/") for info in opened.infolist()]
    else:
        with open_tar(archive) as tar:
            names = tar.getnames()
    assert len(names) == len(set(names)) == len(NAMES) + len(plan().folders)
    seen: set[str] = set()
    for name in names:
        assert name == "demo-1.2.3" or name.rpartition("/")[0] in seen
        seen.add(name)


# the presets of xz above 6 need up to 700 MB of memory
@pytest.mark.parametrize(
    ("packed", "level"), [(packed, level) for packed in ArchiveFormat for level in range(7 if "Xz" in packed else 10)]
)
def test_every_level_gives_an_archive_that_opens(tmp_path: Path, packed: ArchiveFormat, level: int) -> None:
    archive = written(tmp_path, packed, plan(level))
    tool = ["unzip", "-tq"] if packed is ArchiveFormat.Zip else ["tar", "-tf"]
    subprocess.run([*tool, str(archive)], check=True, stdout=subprocess.DEVNULL)


def test_level_0_stores_in_gzip_and_zip_and_is_level_1_of_bzip2(tmp_path: Path) -> None:
    def size(packed: ArchiveFormat, level: int) -> int:
        folder = tmp_path / f"{packed}{level}"
        folder.mkdir()
        return written(folder, packed, plan(level)).stat().st_size

    for packed in (ArchiveFormat.TarGz, ArchiveFormat.Zip):
        assert size(packed, 0) > plan().members.size_bytes > size(packed, 9)
    one, nine = (tmp_path / f"{ArchiveFormat.TarBz2}{level}" for level in (0, 1))
    assert size(ArchiveFormat.TarBz2, 0) == size(ArchiveFormat.TarBz2, 1)
    assert [next(each.iterdir()).read_bytes()[:4] for each in (one, nine)] == [b"BZh1", b"BZh1"]


def test_only_the_executable_bit_is_preserved(tmp_path: Path) -> None:
    for name, mode in (("run.sh", 0o4751), ("data", 0o606)):
        (tmp_path / name).write_bytes(b"x")
        (tmp_path / name).chmod(mode)
    members = Members(file_member(name, tmp_path / name, "test") for name in ("run.sh", "data"))
    for packed in (ArchiveFormat.TarGz, ArchiveFormat.Zip):
        archive = written(tmp_path, packed, plan(members=members))
        out = tmp_path / packed
        out.mkdir()
        tool = ["unzip", "-q"] if packed is ArchiveFormat.Zip else ["tar", "-xf"]
        subprocess.run([*tool, str(archive)], cwd=out, check=True, preexec_fn=lambda: os.umask(0o022) and None)
        top = out / "demo-1.2.3"
        assert [stat.S_IMODE((top / name).stat().st_mode) for name in ("run.sh", "data")] == [0o755, 0o644]


@pytest.mark.parametrize("change", [b"", b"shorter", b"x" * 100, b"y" * 99, b"x" * 101])
@pytest.mark.parametrize("packed", [ArchiveFormat.TarGz, ArchiveFormat.Zip])
def test_a_file_that_changes_after_it_was_hashed_is_an_error(
    tmp_path: Path, packed: ArchiveFormat, change: bytes
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"y" * 100)
    members = Members([file_member("source", source, "test")])
    source.write_bytes(change)
    with pytest.raises(PortalisError, match="source changed while it was packed"):
        written(tmp_path, packed, plan(members=members))


def test_progress_is_reported_as_a_percentage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portalis.dist.archive.writer.PROGRESS_BYTES", 1 << 20)
    data = tmp_path / "data"
    data.write_bytes(bytes(4 << 20))
    reported: list[str] = []
    members = Members([file_member("data", data, "test")])
    write_archive(plan(members=members), tmp_path / "a.tar.gz", ArchiveFormat.TarGz, reported.append)
    assert reported == [f"packing a.tar.gz: {share} % of 4.0 MiB" for share in (25, 50, 75, 100)]


PACK = """
import os, sys
os.umask(int(sys.argv[3], 8))
from pathlib import Path
import zstandard
from portalis.dist.archive.writer import write_archive
from portalis.dist.archive.members import ArchivePlan, Members, file_member
from portalis.spec.distribution import ArchiveFormat
os.setuid(int(sys.argv[6]))
source = Path(sys.argv[1])
files = list(source.rglob("*"))
if sys.argv[4] == "reversed":
    files.reverse()
members = Members(file_member(f.relative_to(source), f, "test") for f in files if f.is_file())
plan = ArchivePlan(top="demo-1.2.3", members=members, epoch=1714979289, level=6)
write_archive(plan, Path(sys.argv[2]), ArchiveFormat(sys.argv[5]), lambda text: None)
"""


@pytest.mark.parametrize("packed", ArchiveFormat)
def test_the_bytes_depend_on_the_files_alone(packed: ArchiveFormat) -> None:
    """They do not depend on the directory, the umask, the time zone, the locale, the user (if root can become another),
    the owners and times of the files or the order of a directory."""
    digests = set()
    others = (65534, 65534) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    for zone, umask, order, moment, (uid, gid) in (
        ("UTC", "022", "as found", 1, (os.geteuid(), os.getegid())),
        ("Asia/Kolkata", "077", "reversed", 10**9, others),
    ):
        # not pytest's directory, which other users cannot read
        with tempfile.TemporaryDirectory(suffix=order) as name:
            folder = Path(name)
            for each in NAMES:
                place = folder / "files" / each
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content(each))
                os.chown(place, uid, gid)
                os.utime(place, (moment, moment))
            folder.chmod(0o777)
            target = folder / "archive"
            environment = {"TZ": zone, "LC_ALL": "C" if zone == "UTC" else "C.UTF-8", "PYTHONPATH": str(ROOT)}
            arguments = [str(folder / "files"), str(target), umask, order, packed.value, str(uid)]
            command = [sys.executable, "-X", "utf8", "-c", PACK, *arguments]
            subprocess.run(command, check=True, cwd=folder, env=environment)
            assert target.stat().st_uid == uid
            digests.add(hashlib.sha256(target.read_bytes()).hexdigest())
    assert len(digests) == 1


MEASURE = """
import sys, threading, time
from pathlib import Path
from portalis.dist.archive.writer import write_archive
from portalis.dist.archive.checksums import file_checksums
from portalis.dist.archive.members import ArchivePlan, Members, file_member
from portalis.spec.distribution import ArchiveFormat, ChecksumAlgorithm

def memory(kind):  # getrusage also counts the process before its exec
    return int(Path("/proc/self/status").read_text().split(kind + ":")[1].split()[0]) * 1024

peak, done, before = 0, False, memory("RssAnon")
def watch():
    global peak
    while not done:
        peak = max(peak, memory("RssAnon"))
        time.sleep(0.005)
thread = threading.Thread(target=watch)
thread.start()
big = Path(sys.argv[1])
members = Members([file_member("big", big, "test")])
plan = ArchivePlan(top="top", members=members, epoch=0, level=int(sys.argv[3]))
target = big.with_name("archive")
write_archive(plan, target, ArchiveFormat(sys.argv[2]), lambda text: None)
file_checksums(target, list(ChecksumAlgorithm))
done = True
thread.join()
print(peak - before, memory("VmHWM"))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("packed", "level"), [("TarGz", 6), ("Zip", 6), ("TarBz2", 1), ("TarXz", 6), ("TarZst", 6)])
@pytest.mark.bulk
def test_memory_does_not_grow_with_the_size_of_the_files(tmp_path: Path, packed: str, level: int) -> None:
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(256 << 20)
    command = [sys.executable, "-c", MEASURE, str(big), packed, str(level)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    growth, most = map(int, done.stdout.split())
    assert growth < 128 << 20 and most < 200_000_000


LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
from portalis.dist.archive.fallback import fallback_warnings, write_with_fallback
from portalis.output.file_group import file_group
from portalis.spec.distribution import ArchiveFormat, DistributionConfiguration
from tests.dist.archive.test_writer import plan
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20),) * 2)
config = DistributionConfiguration(
    archive_format=ArchiveFormat.TarXz, compression_level=9, fallback_formats=tuple(map(ArchiveFormat, sys.argv[2:]))
)
with file_group(Path(sys.argv[1])) as files:
    archive = write_with_fallback(plan(9), config, files, lambda text: None)
    print(archive.name)
    print(*files.names)
for each in fallback_warnings(archive):
    print(each.message)
"""


def with_little_memory(folder: Path, *fallbacks: str) -> list[str]:
    """The output of a process with 200 MB of memory, where xz at level 9 needs about 700 MB."""
    command = [sys.executable, "-c", LITTLE_MEMORY, str(folder), *fallbacks]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in folder.iterdir()] == done.stdout.splitlines()[:1]
    return done.stdout.splitlines()


FAILED = "demo-1.2.3.tar.xz cannot be compressed at level 9: not enough memory"


def test_without_memory_for_a_level_level_1_is_used_and_reported(tmp_path: Path) -> None:
    reported = with_little_memory(tmp_path / "out")
    name = "demo-1.2.3.tar.xz"
    assert reported == [name, name, f"{FAILED}; created at level 1 instead"]
    subprocess.run(["xz", "-t", str(tmp_path / "out" / name)], check=True)


def test_a_fallback_format_of_the_spec_is_used_and_reported(tmp_path: Path) -> None:
    reported = with_little_memory(tmp_path / "out", "TarBz2", "Zip")
    name = "demo-1.2.3.tar.bz2"
    assert reported == [name, name, f"{FAILED}; {name} was created instead"]
    subprocess.run(["bzip2", "-t", str(tmp_path / "out" / name)], check=True)
