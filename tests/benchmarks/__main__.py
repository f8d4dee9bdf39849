"""All benchmarks: python -m tests.benchmarks [NAME …] [--quick] [--json PATH] [--chart PATH]."""

import argparse
import importlib
import time
from pathlib import Path

from tests.benchmarks.chart import draw_chart
from tests.benchmarks.harness import prepare_process, write_reports

# Each is a module with `measure(*, quick) -> list[Report]`.
PARTS = ("forward", "decode", "job", "feeding", "startup", "listing", "memory", "service")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="fewer images, one round: a trial")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write every figure there")
    parser.add_argument("--chart", type=Path, metavar="PATH", help="draw the JSON's figures there")
    parser.add_argument("--keys", type=int, metavar="N", help="so many for the listing")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(PARTS):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if arguments.chart and not arguments.json:
        parser.error("--chart draws what --json PATH holds; name both")
    prepare_process()
    for name in arguments.names or PARTS:
        started = time.monotonic()
        options = {"keys": arguments.keys} if name == "listing" else {}
        module = importlib.import_module(f"tests.benchmarks.{name}")
        reports = module.measure(quick=arguments.quick, **options)
        for report in reports:
            print(report.to_markdown(), flush=True)
        print(f"({name} took {time.monotonic() - started:.0f} s)\n", flush=True)
        if arguments.json:
            write_reports(arguments.json, reports)
    if arguments.chart:
        try:
            draw_chart(arguments.json, arguments.chart)
        except ValueError as exc:
            print(f"no chart: {exc}")


if __name__ == "__main__":
    main()
