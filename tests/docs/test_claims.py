"""The pages name everything that there is, and give the figures that were measured."""

import json
import re
from collections.abc import Iterator

import click
import pytest

from jobs.cli.commands import cli
from jobs.cli.exits import EXIT_INTERRUPTED, EXIT_NOT_PASSED, EXIT_OVER_ERROR_RATE
from jobs.dataset.schema import IMAGE_FAULTS, NOT_AN_IMAGE, output_schema
from jobs.errors import FetchErrorKind, JobError, SpecError
from jobs.inputs import kinds, parquet_images, tar, webdataset
from jobs.inputs.kinds import InputFormat
from jobs.inputs.names import LITTER
from jobs.inputs.rows import NOTHING_CARRIED
from jobs.inputs.tables import json_types, lines
from model_repo.inception_v3.decoding import decoded, formats, jpeg
from model_repo.inception_v3.spec import FEATURE_SHAPES, PRECISIONS
from serving.config import ServingConfig
from serving.errors import _STATUS
from tests.support.pages import PAGES, ROOT

TEXT = {page.name: page.read_text() for page in PAGES}
BENCHMARKS = json.loads((ROOT / "docs" / "benchmarks.json").read_text())


def all_commands(group: click.Group, name: str = "") -> Iterator[tuple[str, click.Command]]:
    for word, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from all_commands(command, f"{name}{word} ")
        else:
            yield f"{name}{word}", command


COMMANDS = dict(all_commands(cli))


def section(page: str, title: str) -> str:
    """Return a page's text from a title to the next of the same rank."""
    rank = title.partition(" ")[0]
    _, _, rest = TEXT[page].partition(f"\n{title}\n")
    assert rest, title
    return re.split(rf"^{rank} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def test_the_readme_is_short():
    lines = TEXT["README.md"].splitlines()

    assert len(lines) <= 150
    assert not [line for line in lines if line.startswith("    ")]  # blocks are fenced, and run


def test_every_page_is_in_the_readme():
    pages = [page.name for page in PAGES[1:]]

    assert [name for name in pages if f"](docs/{name})" not in TEXT["README.md"]] == []


@pytest.mark.parametrize("name", [page.name for page in PAGES])
def test_links_lead_somewhere(name):
    folder = ROOT if name == "README.md" else ROOT / "docs"
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", TEXT[name])
    for path, anchor in links:
        target = (folder / path) if path else folder / name
        assert target.exists(), path
        if anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert anchor in {slug(title) for title in titles}, f"{path}#{anchor}"


def slug(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_described(name):
    text = section("options.md", f"## `labelmill {name}`")
    shared = section("options.md", "## `labelmill label`") if name == "plan" else ""

    options = [parameter.opts[-1] for parameter in COMMANDS[name].params]
    named = [option for option in options if option.startswith("--")]
    assert [option for option in named if f"`{option}" not in text + shared] == []


def test_every_option_that_is_named_exists():
    known = {option for command in COMMANDS.values() for x in command.params for option in x.opts}
    named = {x for text in TEXT.values() for x in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)}
    of_others = {"--data-binary", "--json", "--quick", "--model-repository", "--help"}

    assert named - known - of_others == set()


def test_every_argument_of_the_service_is_described():
    text = section("options.md", "## Arguments of the service")
    names = ServingConfig.model_fields.keys() - {"token_hashes"}

    assert [name for name in sorted(names) if f"`{name}`" not in text] == []
    for name in ("port", "max_body_bytes", "max_pixels", "max_queue_s", "hang_timeout_s"):
        row = next(line for line in text.splitlines() if f"`{name}`" in line)
        assert f"{ServingConfig.model_fields[name].default:.10g}" in row


def test_every_column_is_described():
    text = section("output.md", "## Columns")
    outputs = ("embedding", *FEATURE_SHAPES)
    names = [x.replace("features_", "") for x in output_schema(outputs, NOTHING_CARRIED).names]

    assert [name for name in names if f"`{name}`" not in text] == []
    assert [x for x in PRECISIONS if f"`{x}`" not in text] == []
    for layer, shape in FEATURE_SHAPES.items():
        assert f"| `{layer}` | {list(shape)} |" in text


def test_every_kind_of_error_is_described():
    rows = section("output.md", "## Error kinds").splitlines()
    kinds = {*IMAGE_FAULTS, NOT_AN_IMAGE, *FetchErrorKind.__args__}

    described = {
        row.split("`")[1]: row.endswith("| yes |") for row in rows if row.startswith("| `")
    }
    assert described.keys() - {"error_kind"} == kinds
    assert {kind for kind, counts in described.items() if counts} == set(IMAGE_FAULTS)


def test_every_format_and_flag_is_described():
    text = section("inputs.md", "## Images")
    read = set(formats.READ.replace(" or", ",").split(", "))
    unread = {name for *_, name in formats._NOT_READ} | {"SVG"}

    assert [name for name in sorted(read) if f"| {name} |" not in text] == []
    assert [flag for flag in decoded.FLAGS if f"| `{flag}` |" not in text] == []
    assert {name for *_, name in formats._READ} | {"BMP", "WebP", "AVIF", "HEIC"} == read
    assert [name for name in sorted(unread) if name not in text] == []
    assert f"{jpeg.MAX_SCANS:,} scans" in text
    assert f"{decoded.MAX_PARTS:,} chunks" in text
    assert (decoded.TINY_SIDE, decoded.EXTREME_ASPECT) == (64, 4)  # as the page says


def test_every_name_that_decides_what_input_is_is_described():
    text = section("inputs.md", "## What INPUT is")
    formats = InputFormat.__args__

    endings = (*kinds.LISTS, *kinds._NOTES, *kinds._NAMED_NOTES, *formats)
    assert [ending for ending in endings if f"`{ending}`" not in text] == []
    assert f"first {kinds._LOOKED_AT} objects" in text
    assert f"{kinds._LOOKED_AT - 1} at most" in text
    assert f"first {parquet_images._CELLS_LOOKED_AT} cells" in text
    text = section("inputs.md", "## Manifests")
    assert f"{lines.LONGEST_LINE >> 20} MiB" in text
    assert f"{json_types.MAX_MEMBERS:,} different keys" in text


def test_every_name_of_a_tar_member_is_described():
    text = section("inputs.md", "## WebDataset shards")

    assert [ending for ending in webdataset._IMAGE if f"`{ending}`" not in text] == []
    assert f"`{tar.AFTER_THE_END}`" in text
    assert [x for x in LITTER if f"`{x}`" not in section("inputs.md", "## Names")] == []


def test_every_status_and_metric_is_described():
    table = section("serving.md", "## When something is wrong")
    statuses = {status for one in _STATUS.values() for status in (one.http, one.grpc.name)} - {403}
    code = (ROOT / "serving" / "telemetry" / "metrics.py").read_text()
    metrics = re.findall(r'"(labelmill_\w+)"', code)

    words = set(re.findall(r"\w+", table))
    assert {str(status) for status in statuses} - words == set()
    assert [name for name in metrics if f"`{name}`" not in TEXT["serving.md"]] == []


def test_exit_codes_are_described():
    rows = section("options.md", "## Exit codes")
    codes = {0, JobError.exit_code, SpecError.exit_code, EXIT_OVER_ERROR_RATE, EXIT_INTERRUPTED}

    assert {int(code) for code in re.findall(r"^\| (\d+) \|", rows, re.MULTILINE)} == codes
    assert EXIT_NOT_PASSED == EXIT_OVER_ERROR_RATE


def test_every_variable_that_is_read_is_described():
    rooms = ("jobs", "serving", "model_repo")
    sources = [path for room in rooms for path in (ROOT / room).rglob("*.py")]
    code = "\n".join(path.read_text() for path in sources)
    read = set(re.findall(r'environ(?:\.get\(|\[)"([A-Z_]+)"(?!\] = )', code))
    read |= set(re.findall(r'VARIABLE = "(\w+)"', code))

    text = section("options.md", "## Environment variables")
    assert read
    assert [name for name in sorted(read) if f"`{name}`" not in text] == []


@pytest.mark.parametrize(
    ("page", "row", "case"),
    [
        ("README.md", "the bound", "bound"),
        ("README.md", "a job, local disk", "job, local disk"),
        ("README.md", "a job, S3 on the same cores", "job, SeaweedFS"),
        ("README.md", "a DataLoader loop with torchvision's network", "DataLoader"),
        ("benchmarks.md", "the bound", "bound"),
        ("benchmarks.md", "a job, local disk", "job, local disk"),
        ("benchmarks.md", "a job, SeaweedFS on the same cores", "job, SeaweedFS"),
        ("benchmarks.md", "Daft with the same network", "Daft"),
    ],
)
def test_figures_of_jobs_are_those_that_were_measured(page, row, case):
    (line,) = (line for line in TEXT[page].splitlines() if line.startswith(f"| {row} |"))
    cells = [cell.strip() for cell in line.strip("|").split("|")][1:]
    median = BENCHMARKS["job"]["medians"][case]

    assert cells[0] == f"{median['images_per_s']:.1f}"
    assert cells[-1] == f"{median['cpu_ms']:.0f}"
    assert cells[1] in ("", f"{median['of_bound']:.2f}")


def test_figures_of_the_service_are_those_that_were_measured():
    medians = BENCHMARKS["service"]["medians"]
    for row, case in (
        ("Serve's own proxy", "default proxy"),
        ("HAProxy", "HAProxy"),
        ("LitServe", "LitServe"),
    ):
        (line,) = (x for x in TEXT["benchmarks.md"].splitlines() if x.startswith(f"| {row}"))
        for callers in (8, 32):
            assert f"{medians[f'{case}, {callers} callers']['per_s']:.1f}/s" in line


def test_figures_of_precision_are_those_that_were_measured():
    medians = BENCHMARKS["forward"]["medians"]
    for row, case in (("OpenVINO", "openvino"), ("torch", "torch")):
        figures = (medians[f"{case} {x}, batch of 8"]["cpu_ms"] for x in ("fp32", "bf16"))
        assert f"| {row} | {' | '.join(f'{x:.0f}' for x in figures)} |" in TEXT["benchmarks.md"]


def test_every_room_is_in_the_layout():
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    layout = contributing.partition("\n## Layout\n")[2].partition("\n## ")[0]
    folders = [ROOT / name for name in ("jobs", "serving", "model_repo/inception_v3")]
    rooms = {path.stem for folder in folders for path in folder.iterdir()}

    unnamed = {room for room in rooms if not room.startswith("__") and f"`{room}" not in layout}
    assert unnamed == set()
