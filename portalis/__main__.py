"""`python -m portalis` is the `portalis` command."""

from portalis.cli import main

if __name__ == "__main__":
    main()
