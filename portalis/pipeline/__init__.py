"""The packaging pipeline: runs every target for one spec, and writes one output directory and one report."""

from .options import Options
from .runner import Listener, run_pipeline

__all__ = ["Listener", "Options", "run_pipeline"]
