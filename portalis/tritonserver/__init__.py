"""The real Triton Inference Server: find it, lay out its backends, run it on loopback, stop it cleanly."""

from .backend_layout import backend_directory, python_runtime
from .install import TritonInstall, find
from .server_process import Ports, TritonServer

__all__ = ["Ports", "TritonInstall", "TritonServer", "backend_directory", "find", "python_runtime"]
