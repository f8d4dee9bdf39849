"""The command `labelmill`, also as `python -m jobs`."""

import signal

from jobs.cli.exits import EXIT_INTERRUPTED, fail


def main() -> None:
    """Run the command line. An interruption is one sentence, even while modules still load."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        from jobs.cli.commands import run  # noqa: PLC0415

        run()
    except KeyboardInterrupt:
        fail("interrupted; the same command continues", EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
