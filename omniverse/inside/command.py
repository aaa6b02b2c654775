"""The tool on Kit's command line, with the extension enabled: ``--exec "…/command.py softmax in.npz out.npz"``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main() -> None:
    """Run the words behind this script's name, and print what there is to say; what fails is in the log."""
    # Kit runs a script as __main__, so that the extension is known by where this file lies
    folder = Path(__file__).resolve().parent
    root = next(each for each in folder.parents if (each / "config" / "extension.toml").is_file())
    module = importlib.import_module(".".join(folder.relative_to(root).parts))
    _, lines = module.get_extension().tool.command(sys.argv[1:])
    for line in lines:
        print(line)  # noqa: T201  # it is a command


if __name__ == "__main__":
    main()
