"""A server process that runs `portalis` commands in forks. It has already imported the modules that most commands need.

Starting Python with these imports, and with coverage, takes longer than most commands. A fork has its own working
directory, environment, streams and exit code, as any process. `tests.running.commands` sends the requests.

Usage: python -m tests.running.prepared SOCKET — it ends when its standard input is closed.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading

# modules that commands import on demand; importing them must not start a thread or read the environment
IMPORTS = (
    "portalis.annotation",
    "portalis.backend",
    "portalis.cli.app",
    "portalis.cli.progress",
    "portalis.cli.summary",
    "portalis.contracts.output",
    "portalis.contracts.json_schemas",
    "portalis.deploy.deployment_target",
    "portalis.publishing.push",
    "portalis.dist.attest.sbom",
    "portalis.dist.attest.keys",
    "portalis.dist.archive_target",
    "portalis.dist.verify.verification",
    "portalis.inspection.inspector",
    "portalis.model_repository_gen.model_repository_target",
    "portalis.nim.image_target",
    "portalis.omniverse.extension_target",
    "portalis.publishing.record",
    "portalis.publishing.publishing_target",
    "portalis.pipeline.target_registry",
    "portalis.proto.documentation_target",
    "portalis.spec.read",
    "portalis.spec_file",
    "portalis.tritonserver.server_process",
    "rich.console",
    "rich.markdown",
    "rich.table",
    "tomlkit",
)


def main(path: str) -> None:
    for name in IMPORTS:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # otherwise a collection in a fork copies the memory of all imported modules
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the forks
        while True:
            ready, _, _ = select.select([sys.stdin, listener], [], [])
            if sys.stdin in ready:
                return
            connection, _ = listener.accept()
            if os.fork() == 0:
                break
            connection.close()
    run_command(*receive_request(connection))


def receive_request(connection: socket.socket) -> tuple[list[str], str, dict[str, str]]:
    """Fork the process that runs the command, which returns from here; this process waits and sends the exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with connection:
        message, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 3)
        while not message.endswith(b"\n"):
            message += connection.recv(1 << 20)
        child = os.fork()
        if child == 0:
            for target, descriptor in enumerate(descriptors):
                os.dup2(descriptor, target)
                os.close(descriptor)
            request = json.loads(message)
            return request["arguments"], request["folder"], request["environment"]
        for descriptor in descriptors:
            os.close(descriptor)
        _, status = os.waitpid(child, 0)
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)  # skips the interpreter's shutdown, which only the command's process must run


def run_command(arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    os.chdir(folder)
    sys.path[0] = folder  # as with `python -m`
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = arguments
    try:
        runpy.run_module("portalis", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, int):
            leave(end.code)
        raise


def leave(status: int) -> None:
    """End the process as the interpreter does, without freeing its modules, which would copy their memory.

    Returns if a stream cannot be written, so that the interpreter reports the error.
    """
    threading._shutdown()  # type: ignore[attr-defined] # waits for threads
    with contextlib.suppress(OSError, ValueError):
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main(sys.argv[1])
