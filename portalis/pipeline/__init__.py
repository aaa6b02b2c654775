"""The pipeline: one spec in, every target run in order, one output directory and one truthful report out."""

from .run import Listener, Options, package

__all__ = ["Listener", "Options", "package"]
