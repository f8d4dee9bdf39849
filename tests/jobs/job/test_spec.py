from pathlib import Path

import pytest

from jobs.errors import SpecError
from jobs.inputs.names import Names
from jobs.job.spec import load_job_spec

PLACES = {"input": "in", "output": "out"}


def test_options_have_their_documented_defaults():
    spec = load_job_spec(PLACES)

    assert (spec.model, spec.top_k, spec.max_error_rate) == ("inception_v3", 5, 0.01)
    assert spec.outputs == ()
    assert spec.actor_range is None


def test_command_line_wins_over_the_file(tmp_path):
    config = tmp_path / "job.yaml"
    config.write_text("input: a\noutput: b\ntop-k: 3\nmax_error_rate: 0.5\n")

    spec = load_job_spec({"top_k": 7, "input": None}, config)

    assert (spec.input, spec.output, spec.top_k, spec.max_error_rate) == ("a", "b", 7, 0.5)


def test_the_file_may_lie_in_the_home_folder(tmp_path, monkeypatch):
    (tmp_path / "job.yaml").write_text("top-k: 3\n")
    monkeypatch.setenv("HOME", str(tmp_path))

    assert load_job_spec(PLACES, Path("~/job.yaml")).top_k == 3


def test_emit_names_the_outputs_of_the_network():
    spec = load_job_spec({**PLACES, "emit": "classification,features:Mixed_6e,embedding"})

    assert spec.outputs == ("embedding", "Mixed_6e")


@pytest.mark.parametrize("text", ["exclude: '*.txt, ._*'", "exclude: ['*.txt', '._*']"])
def test_globs_are_a_list_or_have_commas_between_them(tmp_path, text):
    config = tmp_path / "job.yaml"
    config.write_text(text)

    assert load_job_spec({**PLACES, "include": ()}, config).names == Names((), ("*.txt", "._*"))
    spec = load_job_spec({**PLACES, "exclude": ("a", "b,c"), "include": ("*.jpg",)}, config)
    assert spec.names == Names(("*.jpg",), ("a", "b", "c"))


@pytest.mark.parametrize(("text", "expected"), [("3", (3, 3)), ("2:5", (2, 5))])
def test_actors_are_a_number_or_a_range(text, expected):
    assert load_job_spec({**PLACES, "actors": text}).actor_range == expected


@pytest.mark.parametrize(
    ("option", "command"),
    [("batch_size", "plan"), ("actors", "plan"), ("precision", "models check")],
)
def test_what_used_to_be_auto_says_what_to_write_instead(option, command):
    name = option.replace("_", "-")

    with pytest.raises(SpecError, match=f"--{name}: 'auto' is gone; .* 'labelmill {command}' pr"):
        load_job_spec({**PLACES, option: "auto"})


def test_only_a_forecast_needs_no_output():
    assert load_job_spec({"input": "a"}, usage="plan INPUT [OUTPUT]").output == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input": "a"}, "OUTPUT is missing"),
        ({**PLACES, "emit": "logit"}, "--emit: cannot emit 'logit'; there are classification"),
        ({**PLACES, "actors": "0"}, "--actors: '0': MIN must be at least 1"),
        ({**PLACES, "actors": "5:2"}, "--actors: '5:2': MIN must be at least 1 and no more"),
        ({**PLACES, "actors": "many"}, "--actors: 'many' is not MIN or MIN:MAX"),
        ({**PLACES, "num_gpus": 2}, "--num-gpus: 2 is more than 1; an actor uses one GPU"),
        ({**PLACES, "batch_size": "0"}, "--batch-size: input should be greater than 0"),
        ({**PLACES, "batch_size": "8.5"}, "--batch-size: input should be a valid integer"),
        ({**PLACES, "runtime": "tensorrt"}, "--runtime: input should be 'auto', 'torch'"),
        ({**PLACES, "top_k": 0}, "--top-k: input should be greater than 0"),
        ({**PLACES, "max_error_rate": 2}, "--max-error-rate: input should be less than"),
    ],
)
def test_wrong_options_are_named_with_what_they_should_be(options, message):
    with pytest.raises(SpecError) as caught:
        load_job_spec(options)

    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("top_k: [", "cannot read job file"), ("- a", "must hold keys")],
)
def test_unreadable_job_files_are_refused(tmp_path, text, message):
    config = tmp_path / "job.yaml"
    config.write_text(text)

    with pytest.raises(SpecError, match=message):
        load_job_spec(PLACES, config)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("topk: 3", "'topk' in {}: no such option; there are input, output, model, .*top_k, "),
        ("topk: 3\ntop_k: 0\no-k: 1", "'topk' in {}, 'o-k' in {}: no such option; there are inp"),
        ("top-k: 0", "'top-k' in {}: input should be greater than 0"),
        ("max_error_rate: 2", "'max_error_rate' in {}: input should be less than"),
        ("top-k: 3\ntop_k: 4", "{} has both 'top-k' and 'top_k'; keep one"),
        ("top_k: [3, 4]\nemit: {a: b}", "'top_k' in {}: .*; 'emit' in {}: "),
    ],
)
def test_a_wrong_key_of_a_job_file_is_named_as_it_is_written_there(tmp_path, text, message):
    config = tmp_path / "job.yaml"
    config.write_text(text)

    with pytest.raises(SpecError, match=message.replace("{}", str(config))):
        load_job_spec(PLACES, config)


def test_an_option_of_the_command_line_is_blamed_as_such(tmp_path):
    config = tmp_path / "job.yaml"
    config.write_text("top_k: 3")

    with pytest.raises(SpecError, match=r"^--top-k: input should be greater than 0$"):
        load_job_spec({**PLACES, "top_k": 0}, config)
