"""`python -m jobs` is `labelmill`."""

from jobs.cli import main

main()
