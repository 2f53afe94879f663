"""`python -m egghead`: the same as the command `egghead`."""

from egghead.cli import main

if __name__ == "__main__":
    main()
