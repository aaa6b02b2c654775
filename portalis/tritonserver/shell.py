"""A `bash` for the server's PATH that starts Python stubs without expanding the names in the command.

Triton 2.51's Python backend runs ``bash -c " exec STUB MODEL/1/model.py … INSTANCE …"`` without quotes, so a name like
``a$(reboot)`` is a command. `portalis serve` rejects such names, but a model can also be loaded later: by polling, or
with a configuration that a client sends. This script splits the command line at spaces and expands nothing. Other
calls, and the ``activate`` of an EXECUTION_ENV_PATH, are passed to the real bash.
"""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from .install import STUB_NAME

_SCRIPT = """#!/bin/sh
set -f
case "$1:$2" in
"-c: exec "*{stub}*)
    set -- $2
    shift
    exec "$@" ;;
"-c:source "*" && exec env LD_LIBRARY_PATH="*{stub}*)
    set -- $2
    activate=$2
    libraries=${{6%:*}}:$LD_LIBRARY_PATH
    shift 6
    exec {bash} -c 'source "$0" && exec env "$@"' "$activate" "$libraries" "$@" ;;
esac
exec {bash} "$@"
"""


def shell_folder(folder: Path) -> Path | None:
    """Create a directory in `folder` that must be first on the server's PATH; None on a machine without bash."""
    bash = shutil.which("bash")
    if bash is None:
        return None
    directory = folder / "shell"
    directory.mkdir(parents=True, exist_ok=True)
    script = directory / "bash"
    script.write_text(_SCRIPT.format(stub=STUB_NAME, bash=shlex.quote(bash)))
    script.chmod(0o755)
    return directory
