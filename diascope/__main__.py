"""``python -m diascope`` is the command line."""

from diascope.cli import main

if __name__ == "__main__":
    main()
