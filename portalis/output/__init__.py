"""The output directory: what targets want in it, and the one writer, which puts it there whole or not at all."""

from .package_layout import REPORT
from .staging import Staging, Written, refuse_what_is_not_ours
from .tree import Content, Entry, OutputTree, Source

__all__ = ["REPORT", "Content", "Entry", "OutputTree", "Source", "Staging", "Written", "refuse_what_is_not_ours"]
