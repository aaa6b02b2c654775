"""The real Triton Inference Server: find it, lay out its backends, run it on loopback, stop it cleanly."""

from .install import TritonInstall, find
from .layout import backend_directory, python_runtime
from .process import Ports, TritonServer

__all__ = ["Ports", "TritonInstall", "TritonServer", "backend_directory", "find", "python_runtime"]
