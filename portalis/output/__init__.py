"""The output directory: its layout, the files that targets generate, and the writer that replaces it in one step."""

from .package_layout import REPORT
from .staging import Staging, Written, refuse_foreign_directory
from .tree import Content, CopiedFile, OutputFile, OutputTree

__all__ = [
    "REPORT",
    "Content",
    "CopiedFile",
    "OutputFile",
    "OutputTree",
    "Staging",
    "Written",
    "refuse_foreign_directory",
]
