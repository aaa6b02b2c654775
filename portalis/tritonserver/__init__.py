"""Drives a real Triton Inference Server: finds it, creates its backend directory, runs and stops it."""

from .backend_layout import create_backend_directory, python_runtime
from .install import TritonInstall, find_tritonserver
from .server_ports import Ports
from .server_process import TritonServer

__all__ = ["Ports", "TritonInstall", "TritonServer", "create_backend_directory", "find_tritonserver", "python_runtime"]
