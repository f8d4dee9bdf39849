import hashlib
import urllib.error
import urllib.request
from dataclasses import replace
from http.client import BadStatusLine

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import Inception_V3_Weights

from model_repo.inception_v3.errors import WeightsError
from model_repo.inception_v3.repository.config import Model
from model_repo.inception_v3.repository.weights import Weights, find_weights
from model_repo.inception_v3.runtimes.checkpoint import load_state_dict


@pytest.fixture
def checkpoint(tmp_path):
    """A file with a checkpoint's name; finding weights looks no further than the bytes."""
    path = tmp_path / "folder" / "anything.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def torch_home(tmp_path, monkeypatch):
    """torch.hub's own folder, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def imagenet_model(builtin, tmp_path):
    """The built-in model with an empty version folder."""
    folder = tmp_path / "version"
    folder.mkdir()
    return Model(builtin.spec, folder)


def fail_downloads(monkeypatch, error):
    def urlopen(*args, **kwargs):
        raise error

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    monkeypatch.setattr("torch.hub.urlopen", urlopen)


# --- A path ---------------------------------------------------------------------------------------


def test_file_is_found_and_hashed(small_model, checkpoint):
    weights = find_weights(small_model, str(checkpoint))

    assert weights == Weights(checkpoint, hashlib.sha256(b"weights").hexdigest())


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt"])
def test_folder_stands_for_the_checkpoint_in_it(small_model, checkpoint, name):
    path = checkpoint.rename(checkpoint.with_name(name))

    assert find_weights(small_model, str(path.parent)).path == path


def test_safetensors_is_preferred_to_pickle(small_model, checkpoint):
    checkpoint.with_name("model.pt").write_bytes(b"other")
    checkpoint.rename(checkpoint.with_name("model.safetensors"))

    assert find_weights(small_model, str(checkpoint.parent)).path.name == "model.safetensors"


def test_missing_path_is_named_with_the_remedy(small_model, tmp_path):
    with pytest.raises(WeightsError, match=r"weights '.*/gone.pt' do not exist; .*'untrained'"):
        find_weights(small_model, str(tmp_path / "gone.pt"))


def test_folder_without_a_checkpoint_says_what_it_should_hold(small_model, checkpoint):
    with pytest.raises(WeightsError, match=r"folder holds none of model.safetensors, model.pt"):
        find_weights(small_model, str(checkpoint.parent))


# --- Untrained ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "seed"), [("untrained", 0), ("untrained:", 0), ("untrained:7", 7)]
)
def test_untrained_weights_carry_their_seed_for_a_hash(small_model, source, seed):
    weights = find_weights(small_model, source)

    assert weights == Weights(None, f"untrained:{seed}")
    assert weights.seed == seed


@pytest.mark.parametrize("seed", ["x", "-1", "1.5", "1:2", "9223372036854775808"])
def test_bad_seed_is_refused(small_model, seed):
    with pytest.raises(WeightsError, match=f"'untrained:{seed}': the seed .* whole number"):
        find_weights(small_model, f"untrained:{seed}")


def test_the_largest_seed_makes_weights(small_model, small_spec):
    weights = find_weights(small_model, "untrained:9223372036854775807")

    assert load_state_dict(weights, small_spec)["fc.weight"].shape == (3, 2048)


# --- The model's own ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt"])
def test_version_folder_is_where_a_models_weights_lie(small_model, checkpoint, name):
    path = checkpoint.rename(small_model.folder / name)

    assert find_weights(small_model).path == path


def test_version_folder_wins_over_torchvisions_checkpoint(imagenet_model, torch_home, checkpoint):
    own = checkpoint.rename(imagenet_model.folder / "model.safetensors")
    torch_home.mkdir(parents=True)
    torch_home.joinpath("inception_v3_google-0cc3c7bd.pth").touch()

    assert find_weights(imagenet_model).path == own


def test_model_of_other_classes_never_takes_imagenets_weights(small_model, monkeypatch):
    fail_downloads(monkeypatch, AssertionError("tried to download"))

    with pytest.raises(WeightsError, match=r"model 'small' has no weights: .*--weights PATH"):
        find_weights(small_model)


def test_same_number_of_other_classes_never_takes_imagenets_weights(imagenet_model, monkeypatch):
    fail_downloads(monkeypatch, AssertionError("tried to download"))
    labels = tuple(f"class {i}" for i in range(1000))
    model = Model(replace(imagenet_model.spec, labels=labels), imagenet_model.folder)

    with pytest.raises(WeightsError, match="has no weights"):
        find_weights(model)


# --- torchvision's download -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [urllib.error.URLError("unreachable"), TimeoutError("timed out"), BadStatusLine("<html>")],
)
def test_failed_download_names_both_ways_to_weights(imagenet_model, torch_home, monkeypatch, error):
    fail_downloads(monkeypatch, error)

    with pytest.raises(WeightsError, match="download failed") as caught:
        find_weights(imagenet_model)

    for words in ("where that download works", "--weights PATH", "--weights untrained"):
        assert words in str(caught.value)


def test_refused_proxy_is_a_failed_download(imagenet_model, torch_home, monkeypatch, capfd):
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(WeightsError, match="refused"):
        find_weights(imagenet_model)

    assert capfd.readouterr().out == ""


def test_torchvisions_cached_checkpoint_is_used(
    imagenet_model, torch_home, state_dict, monkeypatch
):
    fail_downloads(monkeypatch, AssertionError("tried to download"))
    torch_home.mkdir(parents=True)
    path = torch_home / Inception_V3_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[1]
    torch.save(state_dict, path)

    weights = find_weights(imagenet_model)

    assert weights == Weights(path, hashlib.sha256(path.read_bytes()).hexdigest())
    loaded = load_state_dict(weights, imagenet_model.spec)
    assert torch.equal(loaded["fc.weight"], state_dict["fc.weight"])


def test_damaged_cached_checkpoint_is_named(imagenet_model, torch_home):
    torch_home.mkdir(parents=True)
    path = torch_home / Inception_V3_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[1]
    path.write_bytes(b"<html>")

    with pytest.raises(WeightsError, match=f"cannot load weights {path}"):
        load_state_dict(find_weights(imagenet_model), imagenet_model.spec)


# --- The hash -------------------------------------------------------------------------------------


def test_hash_tells_other_weights_apart(small_model, small_state_dict, tmp_path):
    changed = small_state_dict | {"fc.bias": small_state_dict["fc.bias"] + 1}
    hashes = set()
    for i, tensors in enumerate([small_state_dict, changed]):
        save_file(tensors, tmp_path / f"{i}.safetensors")
        hashes.add(find_weights(small_model, str(tmp_path / f"{i}.safetensors")).sha256)

    assert len(hashes) == 2
