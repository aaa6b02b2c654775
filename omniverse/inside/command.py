"""Runs the tool from Kit's command line, with the extension enabled: ``--exec "…/command.py softmax in.npz out.npz"``.

A module of its own, because Kit runs it as a script.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main() -> None:
    """Run the script's arguments and print the output; errors are logged."""
    # Kit runs a script as __main__, so the extension's module is derived from the path of this file
    folder = Path(__file__).resolve().parent
    root = next(each for each in folder.parents if (each / "config" / "extension.toml").is_file())
    module = importlib.import_module(".".join(folder.relative_to(root).parts))
    _, lines = module.get_extension().tool.command(sys.argv[1:])
    for line in lines:
        print(line)  # noqa: T201  # output of a command


if __name__ == "__main__":
    main()
