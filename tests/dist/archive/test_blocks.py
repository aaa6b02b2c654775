"""Parallel compression: the same bytes for any number of workers, in formats that standard programs unpack."""

from __future__ import annotations

import hashlib
import random
import subprocess
import threading
from pathlib import Path

import pytest

from portalis.dist.archive.blocks import Block, BlockCompressor, CompressionWorkers
from portalis.dist.archive.compressors import COMPRESSORS, CompressionFailed
from portalis.dist.archive.members import ArchivePlan, Members, file_member
from portalis.dist.archive.writer import ARCHIVE_ENDINGS, write_archive
from portalis.spec.distribution import ArchiveFormat
from tests.running.waiting import PATIENCE_S

SIZE = 6 << 20  # more than a block of every format


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a moderate compression ratio."""
    some = random.Random(1)
    words = [some.randbytes(some.randint(2, 9)) for _ in range(300)]
    path = tmp_path_factory.mktemp("big") / "big"
    path.write_bytes(b"".join(some.choices(words, k=SIZE // 4))[:SIZE])
    return path


@pytest.mark.parametrize(("packed", "level"), [(packed, level) for packed in ArchiveFormat for level in (1, 6)])
@pytest.mark.bulk
def test_the_bytes_do_not_depend_on_the_number_of_workers(
    tmp_path: Path, big: Path, packed: ArchiveFormat, level: int
) -> None:
    plan = ArchivePlan(top="demo", members=Members([file_member("big", big, "test")]), epoch=1, level=level)
    digests = set()
    for workers in (1, 3):
        archive = tmp_path / f"{workers}{ARCHIVE_ENDINGS[packed]}"
        write_archive(plan, archive, packed, lambda _: None, workers=workers)
        digests.add(hashlib.sha256(archive.read_bytes()).hexdigest())
    assert len(digests) == 1
    if packed is ArchiveFormat.Zip:
        subprocess.run(["unzip", "-q", str(archive)], cwd=tmp_path, check=True)
    else:
        subprocess.run(["tar", "-xf", str(archive)], cwd=tmp_path, check=True)
    assert (tmp_path / "demo" / "big").read_bytes() == big.read_bytes()


def test_gzip_is_one_member_and_blocks_cost_little_compression(tmp_path: Path, big: Path) -> None:
    """As with pigz: some programs read only the first member of a file."""
    plan = ArchivePlan(top="demo", members=Members([file_member("big", big, "test")]), epoch=1, level=6)
    archive = tmp_path / "a.tar.gz"
    write_archive(plan, archive, ArchiveFormat.TarGz, lambda _: None)
    whole = subprocess.run(["gzip", "-6nc"], input=big.read_bytes(), capture_output=True, check=True).stdout
    assert archive.stat().st_size < 1.01 * len(whole)
    listed = subprocess.run(["gzip", "-l", str(archive)], capture_output=True, text=True, check=True).stdout
    assert int(listed.split()[5]) > SIZE  # gzip lists the size of the last member


def test_blocks_are_compressed_concurrently_and_returned_in_order() -> None:
    together = threading.Barrier(3, timeout=PATIENCE_S)

    def work(block: Block) -> bytes:
        if not block.last:
            together.wait()  # never ends unless three run
        return block.data.upper()

    with CompressionWorkers(3) as workers:
        blocks = BlockCompressor(workers, work, block_bytes=2, worker_bytes=1)
        assert blocks.compress(b"abcdefghijkl") + blocks.compress(b"m") + blocks.flush() == b"ABCDEFGHIJKLM"


def test_at_most_as_many_blocks_are_pending_as_there_are_workers() -> None:
    given: list[Block] = []
    held, most = threading.Semaphore(0), 0

    def work(block: Block) -> bytes:
        given.append(block)
        held.acquire(timeout=PATIENCE_S)
        return block.data

    with CompressionWorkers(2) as workers:
        blocks = BlockCompressor(workers, work, block_bytes=1, worker_bytes=1)
        done = b""
        for each in b"abcdefgh":
            held.release()
            done += blocks.compress(bytes([each]))
            most = max(most, len(given) - len(done))
        held.release()
        held.release()
        assert done + blocks.flush() == b"abcdefgh" and most <= 3


def test_each_block_has_the_end_of_the_previous_one() -> None:
    blocks = BlockCompressor(
        CompressionWorkers(1), lambda block: block.history + b"|" + block.data + b";", block_bytes=3, worker_bytes=1
    )
    assert blocks.compress(b"abcdef") + blocks.flush() == b"|abc;abc|def;"


@pytest.mark.parametrize("worker_bytes", [1, 10 << 20, 90 << 20, 1 << 40])
def test_the_memory_limits_the_number_of_workers_which_is_at_least_one(worker_bytes: int) -> None:
    count = CompressionWorkers().count(worker_bytes)
    assert count >= 1 and (count == 1 or count * worker_bytes <= 96 << 20)


def test_the_exception_of_a_worker_is_raised(tmp_path: Path) -> None:
    def fail(block: Block) -> bytes:
        raise MemoryError("no more")

    with CompressionWorkers(2) as workers:
        blocks = BlockCompressor(workers, fail, block_bytes=1, worker_bytes=1)
        with pytest.raises(MemoryError, match="no more"):
            blocks.compress(b"abcdef")


def test_a_thread_that_cannot_start_is_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with CompressionWorkers(2) as workers, pytest.raises(MemoryError, match="can't start new thread"):
        BlockCompressor(workers, lambda block: block.data, block_bytes=1, worker_bytes=1).compress(b"abc")


def test_workers_are_counted_without_sched_getaffinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert CompressionWorkers().count(1) == 1


def test_an_error_of_zstd_is_raised_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library fails only if it cannot allocate memory."""
    import zstandard

    class Failing:
        def compress(self, data: bytes) -> bytes:
            raise zstandard.ZstdError("allocation failed")

        def flush(self) -> bytes:
            raise zstandard.ZstdError("allocation failed")

    make = COMPRESSORS[ArchiveFormat.TarZst]
    packing = make(1, CompressionWorkers(1))
    monkeypatch.setattr(packing, "_stream", Failing())
    with pytest.raises(CompressionFailed, match="allocation failed"):
        packing.compress(b"x")
    with pytest.raises(CompressionFailed, match="allocation failed"):
        packing.flush()

    def refuse(**parameters: object) -> None:
        raise zstandard.ZstdError("cannot make a context")

    monkeypatch.setattr(zstandard, "ZstdCompressor", refuse)
    with pytest.raises(CompressionFailed, match="cannot make a context"):
        make(1, CompressionWorkers(1))
