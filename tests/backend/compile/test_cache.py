"""The cache of compiled modules: which entries it stores, and which it must never return."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import logging
import multiprocessing
import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import wasmtime
from hypothesis import given
from hypothesis import strategies as st

from portalis.backend.compile import cache as cache_module
from portalis.backend.compile import private_folder
from portalis.backend.compile.cache import HEADER_BYTES, MAGIC, CompileCache, cache_key, machine_identity
from portalis.backend.compile.compiler import compile_module
from portalis.backend.compile.engine import EngineSettings, engine_for
from portalis.backend.compile.loading import deserialize_module
from tests.backend.big_module import big_module
from tests.running.waiting import PATIENCE_S

ROOT = Path(__file__).parents[3]
KEY, OTHER = cache_key("1" * 64, "settings"), cache_key("2" * 64, "settings")
PAYLOAD = bytes(range(256)) * 64


@pytest.fixture(autouse=True)
def nothing_was_warned_of_yet() -> None:
    cache_module._warn_once.cache_clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "modules"


@pytest.fixture
def cache(folder: Path) -> CompileCache:
    return CompileCache(folder)


def entry(cache: CompileCache, key: str = KEY) -> Path:
    return cache.directory / f"{key}.code"


def got(cache: CompileCache, key: str = KEY) -> bytes | None:
    payload = cache.get(key)
    return None if payload is None else bytes(payload)


def files(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


# -- storing ------------------------------------------------------------------------------------------------


def test_a_stored_entry_is_returned_and_counted(cache: CompileCache) -> None:
    assert cache.get(KEY) is None
    cache.put(KEY, PAYLOAD)
    assert got(cache) == PAYLOAD
    assert (cache.hits, cache.misses, cache.rejected) == (1, 1, 0)
    assert files(cache.directory) == {f"{KEY}.code", private_folder.KEY_NAME}


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_can_be_put(cache: CompileCache, kind: type) -> None:
    cache.put(KEY, kind(PAYLOAD))
    assert got(cache) == PAYLOAD


def test_a_second_process_finds_the_entries_of_the_first(cache: CompileCache) -> None:
    cache.put(KEY, PAYLOAD)
    code = f"""
from portalis.backend.compile.cache import CompileCache
import hashlib
print(hashlib.sha256(CompileCache({str(cache.directory)!r}).get({KEY!r})).hexdigest())"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(PAYLOAD).hexdigest()


def test_everything_in_the_folder_is_private_whatever_the_umask(folder: Path) -> None:
    before = os.umask(0)
    try:
        cache = CompileCache(folder / "deep" / "below")
        cache.put(KEY, PAYLOAD)
    finally:
        os.umask(before)
    for path in (folder, folder / "deep", cache.directory, *cache.directory.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_the_key_depends_on_every_input_of_the_compilation() -> None:
    keys = {cache_key(sha, settings) for sha in ("a", "b", "a b", "") for settings in ("a", "b", "b a", "")}
    assert len(keys) == 16
    assert all(len(key) == 64 for key in keys)


def test_the_machine_is_identified_by_its_processor_and_system() -> None:
    identity = machine_identity()
    assert os.uname().machine in identity
    assert "flags" in identity or "Features" in identity


def test_a_key_that_is_a_path_is_rejected(cache: CompileCache) -> None:
    for bad in ("../../etc/passwd", "", KEY.upper(), KEY + "\n"):
        with pytest.raises(ValueError, match="expected a key"):
            cache.get(bad)
        with pytest.raises(ValueError, match="expected a key"):
            cache.put(bad, PAYLOAD)


def test_a_real_module_runs_after_it_came_from_the_cache(cache: CompileCache) -> None:
    wasm = big_module(100_000)
    settings = EngineSettings(max_stack_bytes=1 << 20)
    key = cache_key(hashlib.sha256(wasm).hexdigest(), repr(settings))
    cache.put(key, compile_module(wasm, settings, timeout_s=PATIENCE_S, trusted=True))
    code = cache.get(key)
    assert code is not None
    module = deserialize_module(engine_for(settings), code)
    store = wasmtime.Store(engine_for(settings))
    store.set_epoch_deadline(1 << 40)
    function = wasmtime.Instance(store, module, []).exports(store)["f"]
    assert isinstance(function, wasmtime.Func) and function(store, 10.5) == 21


def test_loading_a_big_module_from_the_cache_takes_at_most_a_twentieth_of_the_cpu_time(cache: CompileCache) -> None:
    wasm = big_module(2 << 20)
    settings = EngineSettings(max_stack_bytes=1 << 20)
    engine = engine_for(settings)
    start = time.process_time()
    code: bytes | memoryview = compile_module(wasm, settings, timeout_s=PATIENCE_S, trusted=True)
    deserialize_module(engine, code)
    first = time.process_time() - start
    key = cache_key(hashlib.sha256(wasm).hexdigest(), repr(settings))
    cache.put(key, code)
    seconds = []
    for _ in range(5):  # the minimum: other work of the process only adds time
        start = time.process_time()
        found = cache.get(cache_key(hashlib.sha256(wasm).hexdigest(), repr(settings)))
        assert found is not None
        deserialize_module(engine, found)
        seconds.append(time.process_time() - start)
    assert min(seconds) <= first / 20


# -- entries that must be rejected ---------------------------------------------------------------------------


def assert_rejected(cache: CompileCache) -> None:
    assert got(cache) is None
    assert cache.rejected == 1
    assert not os.path.lexists(entry(cache))
    cache.put(KEY, PAYLOAD)
    assert got(cache) == PAYLOAD


@given(st.data())
def test_an_entry_with_one_flipped_bit_is_removed(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as directory:
        cache = CompileCache(Path(directory) / "modules")
        cache.put(KEY, PAYLOAD[:64])
        content = bytearray(entry(cache).read_bytes())
        bit = data.draw(st.integers(0, len(content) * 8 - 1))
        content[bit // 8] ^= 1 << bit % 8
        entry(cache).write_bytes(content)
        assert_rejected(cache)


@pytest.mark.parametrize("size", [0, 1, len(MAGIC), HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 100])
def test_a_truncated_entry_is_removed(cache: CompileCache, size: int) -> None:
    cache.put(KEY, PAYLOAD)
    os.truncate(entry(cache), size)
    assert_rejected(cache)


def test_an_entry_with_bytes_added_is_removed(cache: CompileCache) -> None:
    cache.put(KEY, PAYLOAD)
    with entry(cache).open("ab") as file:
        file.write(b"\0")
    assert_rejected(cache)


def test_the_entry_of_another_module_under_this_name_is_removed(cache: CompileCache) -> None:
    cache.put(OTHER, PAYLOAD)
    entry(cache, OTHER).rename(entry(cache))
    assert_rejected(cache)


def test_an_entry_signed_with_another_secret_is_removed(cache: CompileCache) -> None:
    cache.put(KEY, PAYLOAD)
    (cache.directory / private_folder.KEY_NAME).write_bytes(os.urandom(32))
    assert_rejected(cache)


def test_an_entry_with_a_lost_secret_is_removed(cache: CompileCache) -> None:
    cache.put(KEY, PAYLOAD)
    (cache.directory / private_folder.KEY_NAME).unlink()
    assert_rejected(cache)


@pytest.mark.parametrize("secret", [b"", b"short", b"x" * 33, bytes(32)], ids=["empty", "short", "long", "zeros"])
def test_a_key_file_without_a_valid_secret_is_replaced(cache: CompileCache, secret: bytes) -> None:
    cache.put(KEY, PAYLOAD)
    key_file = cache.directory / private_folder.KEY_NAME
    key_file.write_bytes(secret)
    assert_rejected(cache)
    assert key_file.read_bytes() != secret
    assert len(key_file.read_bytes()) == private_folder.KEY_BYTES


def test_a_key_file_that_others_can_read_is_replaced(cache: CompileCache) -> None:
    cache.put(KEY, PAYLOAD)
    key_file = cache.directory / private_folder.KEY_NAME
    leaked = key_file.read_bytes()
    key_file.chmod(0o644)
    assert_rejected(cache)
    assert key_file.read_bytes() != leaked


def test_a_key_file_that_is_a_link_is_replaced_and_its_target_left_alone(cache: CompileCache, tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    planted.write_bytes(b"p" * 32)
    planted.chmod(0o600)
    (cache.directory / private_folder.KEY_NAME).symlink_to(planted)
    cache.put(KEY, PAYLOAD)
    assert got(cache) == PAYLOAD
    assert not (cache.directory / private_folder.KEY_NAME).is_symlink()
    assert planted.read_bytes() == b"p" * 32


def test_a_key_file_that_is_a_directory_only_disables_storing(
    cache: CompileCache, caplog: pytest.LogCaptureFixture
) -> None:
    (cache.directory / private_folder.KEY_NAME).mkdir()
    cache.put(KEY, PAYLOAD)
    assert got(cache) is None
    assert "cannot be stored" in caplog.text
    assert files(cache.directory) == {private_folder.KEY_NAME}


def test_an_entry_that_is_a_pipe_does_not_hang(cache: CompileCache) -> None:
    cache.put(OTHER, PAYLOAD)
    os.mkfifo(entry(cache))
    assert_rejected(cache)


def test_an_entry_that_is_a_link_is_not_followed(cache: CompileCache, tmp_path: Path) -> None:
    cache.put(KEY, PAYLOAD)
    entry(cache).rename(tmp_path / "elsewhere")
    entry(cache).symlink_to(tmp_path / "elsewhere")
    assert got(cache) is None


def test_an_entry_over_the_size_limit_is_not_read(cache: CompileCache) -> None:
    cache.put(KEY, PAYLOAD)
    small = CompileCache(cache.directory, max_bytes=1000)
    assert got(small) is None
    assert small.rejected == 1


# -- the directory -----------------------------------------------------------------------------------------


def assert_off(cache: CompileCache, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    cache.put(KEY, PAYLOAD)
    assert cache.get(KEY) is None
    assert reason in cache.disabled_reason
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert warnings[0].getMessage() == cache.disabled_reason


def test_a_linked_directory_turns_the_cache_off(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert_off(CompileCache(tmp_path / "link"), "symbolic link", caplog)
    assert not files(tmp_path / "real")


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o750, 0o705, 0o1777])
def test_a_directory_open_to_others_turns_the_cache_off(
    folder: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir()
    folder.chmod(mode)
    assert_off(CompileCache(folder), "accessible to other users", caplog)
    assert not files(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_user_turns_the_cache_off(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, -1)
    assert_off(CompileCache(folder), "belongs to user 65534", caplog)


def test_a_file_in_the_place_of_the_directory_turns_the_cache_off(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write_text("not a directory")
    assert_off(CompileCache(folder), "not a directory", caplog)


def test_a_directory_that_cannot_be_created_turns_the_cache_off(caplog: pytest.LogCaptureFixture) -> None:
    assert_off(CompileCache("/proc/no/such"), "/proc/no/such", caplog)


def test_a_directory_that_becomes_accessible_to_others_turns_the_cache_off(
    cache: CompileCache, caplog: pytest.LogCaptureFixture
) -> None:
    cache.put(KEY, PAYLOAD)
    cache.directory.chmod(0o777)
    assert_off(cache, "accessible to other users", caplog)
    cache.directory.chmod(0o700)
    assert got(CompileCache(cache.directory)) == PAYLOAD


def test_a_removed_directory_is_created_again(cache: CompileCache) -> None:
    cache.put(KEY, PAYLOAD)
    for path in cache.directory.iterdir():
        path.unlink()
    cache.directory.rmdir()
    assert got(cache) is None
    cache.put(KEY, PAYLOAD)
    assert got(cache) == PAYLOAD


def test_the_warning_is_logged_once_for_many_caches(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    for _ in range(3):
        assert CompileCache(folder).disabled_reason
    assert len(caplog.records) == 1


def test_the_environment_variable_names_the_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PORTALIS_CACHE_DIR", str(tmp_path / "mine"))
    assert CompileCache().directory == tmp_path / "mine"
    assert (tmp_path / "mine").is_dir()


def test_only_the_configured_directory_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PORTALIS_CACHE_DIR", "/proc/no/such")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert CompileCache().disabled_reason
    assert not files(tmp_path)


def test_a_relative_path_refers_to_the_same_directory_after_chdir(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    cache = CompileCache("here")
    monkeypatch.chdir("/")
    cache.put(KEY, PAYLOAD)
    assert got(cache) == PAYLOAD
    assert entry(cache).parent == tmp_path / "here"


def test_the_users_cache_directory_is_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PORTALIS_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert CompileCache().directory == tmp_path / "xdg" / "portalis" / "modules"
    for ignored in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert CompileCache().directory == tmp_path / "home" / ".cache" / "portalis" / "modules"


def test_a_home_that_cannot_be_written_falls_back_to_the_temporary_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PORTALIS_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/proc/nobody")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    cache = CompileCache()
    assert cache.directory == tmp_path / f"portalis-modules-{os.geteuid()}"
    assert not cache.disabled_reason


def test_without_home_and_temporary_directory_the_cache_is_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PORTALIS_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "nowhere")
    monkeypatch.setattr(tempfile, "tempdir", None)
    # A test cannot make the machine's temporary directories unavailable.
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc"])
    cache = CompileCache()
    assert "No usable temporary directory" in cache.disabled_reason
    assert cache.get(KEY) is None


# -- a full disk, a read-only disk -------------------------------------------------------------------------


def test_on_a_full_disk_requests_succeed_and_no_file_is_left(
    cache: CompileCache, caplog: pytest.LogCaptureFixture
) -> None:
    cache.put(OTHER, PAYLOAD)
    # A limit on the size of files ends a write half-way, as a full disk does, and needs no file system of its
    # own.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        cache.put(KEY, PAYLOAD)
        cache.put(KEY, PAYLOAD)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert cache.get(KEY) is None
    assert got(cache, OTHER) == PAYLOAD
    assert caplog.text.count("cannot be stored") == 1
    assert "File too large" in caplog.text
    assert files(cache.directory) == {f"{OTHER}.code", private_folder.KEY_NAME}


def test_an_entry_that_cannot_be_renamed_into_place_leaves_no_file(
    cache: CompileCache, caplog: pytest.LogCaptureFixture
) -> None:
    cache.put(OTHER, PAYLOAD)
    (entry(cache) / "in the way").mkdir(parents=True)
    cache.put(KEY, PAYLOAD)
    assert "cannot be stored" in caplog.text
    assert not [name for name in files(cache.directory) if name.startswith(".")]
    assert got(cache, OTHER) == PAYLOAD


@pytest.mark.parametrize("spare", [0, 1, 2])  # none; one, for the directory; two, also for the secret
def test_without_free_file_descriptors_a_lookup_is_a_miss_and_entries_are_kept(cache: CompileCache, spare: int) -> None:
    cache.put(KEY, PAYLOAD)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    gc.collect()  # collecting garbage of earlier tests would close files later
    held = [os.open("/dev/null", os.O_RDONLY)]
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (max(int(file.name) for file in Path("/proc/self/fd").iterdir()) + 4, hard)
    )
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open("/dev/null", os.O_RDONLY))
        for _ in range(spare):
            os.close(held.pop())
        payload = cache.get(KEY)
        cache.put(OTHER, PAYLOAD)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for file in held:
            os.close(file)
    assert (payload is None) == (spare < 2)
    assert cache.rejected == 0
    assert got(cache) == PAYLOAD


def test_short_reads_are_continued_until_the_end_of_the_file() -> None:
    reader, writer = os.pipe()

    def write() -> None:
        for piece in (b"one", b"two", b"three"):
            os.write(writer, piece)
            time.sleep(0.02)
        os.close(writer)

    thread = threading.Thread(target=write)
    thread.start()
    assert private_folder.read_up_to(reader, 100) == b"onetwothree"
    thread.join()
    os.close(reader)


def test_code_that_exceeds_the_size_limit_is_not_stored(folder: Path) -> None:
    cache = CompileCache(folder, max_bytes=1000)
    cache.put(KEY, PAYLOAD)
    assert not files(folder)


# -- pruning -----------------------------------------------------------------------------------------------


def test_the_least_recently_used_entries_are_removed_first(folder: Path) -> None:
    cache = CompileCache(folder, max_bytes=10_000)
    keys = [cache_key(str(number), "") for number in range(6)]
    for age, key in enumerate(keys[:5]):
        cache.put(key, bytes(1900))
        os.utime(entry(cache, key), (1_000_000 + age, 1_000_000 + age))
    assert got(cache, keys[0]) is not None  # used just now
    cache.put(keys[5], bytes(1900))
    assert [got(cache, key) is not None for key in keys] == [True, False, False, True, True, True]


def test_the_newest_entry_is_kept_even_if_it_uses_nearly_the_entire_size(folder: Path) -> None:
    cache = CompileCache(folder, max_bytes=10_000)
    cache.put(OTHER, bytes(5000))
    cache.put(KEY, bytes(9900))
    assert got(cache) == bytes(9900)
    assert got(cache, OTHER) is None


def test_pruning_touches_no_other_files(folder: Path) -> None:
    cache = CompileCache(folder, max_bytes=10_000)
    stale = f".portalis-{'0' * 32}"
    others = {".bashrc", "notes.code", "key", f".portalis-{'1' * 32}"}
    for name in {stale, *others}:
        (folder / name).write_bytes(bytes(9000))
    for name in {stale, *others} - {f".portalis-{'1' * 32}"}:
        os.utime(folder / name, (1_000_000, 1_000_000))
    cache.put(OTHER, bytes(6000))
    cache.put(KEY, bytes(6000))
    assert files(folder) == {f"{KEY}.code", private_folder.KEY_NAME, *others}


# -- several at once ---------------------------------------------------------------------------------------


def _race(directory: str, start: Any, results: multiprocessing.Queue[tuple[int, int]]) -> None:
    cache = CompileCache(directory)
    start.wait(PATIENCE_S)
    wrong = 0
    for turn in range(30):
        key = cache_key(str(turn % 5), "")
        cache.put(key, f"{turn % 5}".encode() * 5000)
        payload = cache.get(key)
        wrong += payload is not None and bytes(payload) != f"{turn % 5}".encode() * 5000
    results.put((wrong, cache.rejected))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_concurrent_processes_use_the_same_secret(folder: Path, method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    results, start = context.Queue(), context.Barrier(4)
    processes = [context.Process(target=_race, args=(str(folder), start, results)) for _ in range(4)]
    for process in processes:
        process.start()
    outcomes = [results.get(timeout=PATIENCE_S) for _ in processes]
    for process in processes:
        process.join(PATIENCE_S)
        assert process.exitcode == 0
    assert outcomes == [(0, 0)] * 4
    cache = CompileCache(folder)
    assert all(got(cache, cache_key(str(n), "")) == str(n).encode() * 5000 for n in range(5))
    assert len(files(folder)) == 6


def test_threads_share_a_cache(folder: Path) -> None:
    cache = CompileCache(folder, max_bytes=60_000)  # small enough that they prune each other's entries
    keys = [cache_key(str(number), "") for number in range(8)]
    wrong: list[object] = []

    def work(number: int) -> None:
        for turn in range(60):
            which = (number + turn) % 8
            cache.put(keys[which], bytes([which]) * 10_000)
            payload = cache.get(keys[which])
            if payload is not None and bytes(payload) != bytes([which]) * 10_000:
                wrong.append(which)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert cache.rejected == 0
    assert cache.hits + cache.misses == 360
    assert sum(path.stat().st_size for path in folder.glob("*.code")) <= 60_000


def test_a_killed_writer_leaves_the_previous_entry_intact(folder: Path) -> None:
    cache = CompileCache(folder)
    cache.put(KEY, PAYLOAD)
    code = f"""
from portalis.backend.compile.cache import CompileCache
cache = CompileCache({str(folder)!r})
payload = bytes(64 << 20)
print("go", flush=True)
while True:
    cache.put({KEY!r}, payload)"""
    writer = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "go\n"
    time.sleep(0.05)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    payload = cache.get(KEY)
    assert payload is not None
    assert len(payload) in (len(PAYLOAD), 64 << 20)
    assert cache.rejected == 0
