"""``diascope`` and ``python -m diascope``: the command line, which Ctrl-C ends in one line."""

from diascope.interrupt import interruptible


def main() -> None:
    """Run the command line; see `diascope.cli.main` for the exit codes."""
    with interruptible():
        from diascope.cli import main as run_command_line

        run_command_line()


if __name__ == "__main__":
    main()
