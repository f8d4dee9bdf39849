"""The model on a GPU: variants of the network, decoding beside it, and both from end to end.

    python tests/benchmarks/gpu.py [--device cuda] [--json PATH] [--weights PATH] [--quick]

Needs nothing beyond torch, torchvision and this repository, and under 8 minutes. The classes are
those of jobs and of the service; only Ray is not there: processes decode into shared memory, and
threads take batches from it, as a job's actor does.

- The network alone, its batch on the device already, by variant and size of batch. The first is
  what peers run. Each is compared with fp32 on the CPU: the largest difference of a softmax score,
  and the share of images whose best class is the same.
- Decoding alone, the classifier alone (from memory to memory), and end to end with top-5 labels.
  The busy share is what end to end reaches of the network alone, which knows no pause; NVML's,
  where it can be asked, is the share of the time in which any kernel ran, copies included.
- The same pixels from many threads in batches of all sizes have to give what one thread gets; that
  is what fails if buffers were used again too early. The command then ends with exit code 1.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import torch

if not __package__:  # called as a file
    sys.path[0] = str(Path(__file__).parents[2])

from tests.benchmarks.gpu_decoders import DECODER  # first: it may stand in for a package
from tests.benchmarks.gpu_networks import costly_variants, measure_networks, variants
from tests.benchmarks.gpu_pipeline import compare_threads, measure_pipeline
from tests.benchmarks.gpu_setup import Bench, make_bench
from tests.benchmarks.harness import Report, write_reports

# Of the largest logit: threads meet batches of other sizes, for which cuDNN has other kernels.
TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--weights", default="untrained", help="a checkpoint, or untrained")
    parser.add_argument("--batch-size", type=int, default=128, help="end to end")
    parser.add_argument("--processes", type=int, help="that decode; one for each core")
    parser.add_argument("--quick", action="store_true", help="hardly anything: a trial")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write every figure there")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device here; --device cpu tries the script itself")
    with tempfile.TemporaryDirectory(prefix="labelmill-bench-") as folder:
        reports, is_right = measure(make_bench(arguments, Path(folder)))
    for report in reports:
        print(report.to_markdown(), flush=True)
    if arguments.json:
        write_reports(arguments.json, reports)
    if not is_right:
        raise SystemExit("threads got other figures than one alone")


def measure(bench: Bench) -> tuple[list[Report], bool]:
    """Return what was found, and whether threads get what is theirs."""
    reports = [measure_networks(bench, variants(bench), "the network alone")]
    reports.append(measure_pipeline(bench))
    difference, allowed = compare_threads(bench), TOLERANCE[bench.options.precision]
    reports[1].notes += [
        f"JPEGs were decoded by {DECODER}.",
        f"What threads get differs from what one alone gets by at most {difference:.1e} of the "
        f"largest logit ({allowed:.0e} allowed).",
    ]
    if bench.is_cuda:
        reports.append(measure_networks(bench, costly_variants(bench), "further variants"))
    return reports, difference <= allowed


if __name__ == "__main__":
    main()
