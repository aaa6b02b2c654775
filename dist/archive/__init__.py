"""The archive itself: which files it contains, its README and manifest, compression, and checksums."""

from .archive_paths import file_name_problem, fold_path, path_problem
from .checksums import CHECKSUM_ENDINGS, DIGEST_NAMES, checksum_file_texts, file_checksums
from .contents import OUTPUT_DIRECTORIES, WASM, archive_contents, unused_include_warnings
from .fallback import fallback_warnings, write_with_fallback
from .inventory import archive_inventory, archive_manifest
from .members import ArchivePlan, Member, Members, bytes_member
from .readme import README_ENDINGS, render_readme
from .readme_values import readme_values
from .rust_source import OmittedFile, workspace_root
from .writer import ARCHIVE_ENDINGS, check_free_space

__all__ = [
    "ARCHIVE_ENDINGS",
    "CHECKSUM_ENDINGS",
    "DIGEST_NAMES",
    "OUTPUT_DIRECTORIES",
    "README_ENDINGS",
    "WASM",
    "ArchivePlan",
    "Member",
    "Members",
    "OmittedFile",
    "archive_contents",
    "archive_inventory",
    "archive_manifest",
    "bytes_member",
    "check_free_space",
    "checksum_file_texts",
    "fallback_warnings",
    "file_checksums",
    "file_name_problem",
    "fold_path",
    "path_problem",
    "readme_values",
    "render_readme",
    "unused_include_warnings",
    "workspace_root",
    "write_with_fallback",
]
