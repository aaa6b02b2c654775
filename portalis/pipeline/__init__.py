"""The pipeline: one spec in, every target run in order, one output directory and one truthful report out."""

from .options import Options
from .runner import Listener, package

__all__ = ["Listener", "Options", "package"]
