"""The inventory of an archive."""

from __future__ import annotations

from portalis.contracts.artifacts import ArchiveInventory, DirectoryEntry
from portalis.dist.archive.contents import DESCRIPTIONS
from portalis.dist.archive.inventory import archive_inventory
from portalis.dist.archive.members import Members, bytes_member


def test_files_folders_and_endings_are_counted() -> None:
    names = ("README.md", "LICENSE", "src/a/lib.RS", "src/b/main.rs", "src/.env.sample", "wasm/x.wasm")
    assert archive_inventory(Members(bytes_member(name, b"", "test") for name in names)) == ArchiveInventory(
        total_files=6,
        total_directories=4,
        file_types={"": 1, "md": 1, "rs": 2, "sample": 1, "wasm": 1},
        directories=(
            DirectoryEntry(name="src", path="src/", description=DESCRIPTIONS["src"], file_count=3),
            DirectoryEntry(name="wasm", path="wasm/", description=DESCRIPTIONS["wasm"], file_count=1),
        ),
    )


def test_an_empty_archive_has_an_inventory() -> None:
    assert archive_inventory(Members()) == ArchiveInventory(
        total_files=0, total_directories=0, file_types={}, directories=()
    )
