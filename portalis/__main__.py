"""`python -m portalis` is the `portalis` command."""

from .cli import main

if __name__ == "__main__":
    main()
