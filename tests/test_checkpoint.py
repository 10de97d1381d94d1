"""Checkpoints: what goes in comes out, and nothing but an intact edgelane checkpoint is opened."""

from __future__ import annotations

import pickle
import resource

import pytest
import torch

from edgelane import models
from edgelane.checkpoint import Checkpoint
from edgelane.errors import EdgelaneError
from edgelane.preprocessing import Preprocessing


def checkpoint(name: str = "squeezenet1_1") -> Checkpoint:
    torch.manual_seed(3)
    return Checkpoint(
        model_name=name,
        classes=("stop", "go", "Überholverbot"),
        preprocessing=Preprocessing(48, 64, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)),
        data="scenes",
        state_dict=models.create(name, 3).state_dict(),
        data_options={"seed": 3, "limit": 30},
        metrics={"test": {"accuracy": 0.75, "confusion": [[1, 2], [3, 4]]}},
    )


def test_round_trip_keeps_everything(tmp_path):
    before = checkpoint()
    before.save(tmp_path / "run" / "model.pt")
    after = Checkpoint.load(tmp_path / "run" / "model.pt")
    assert all(torch.equal(value, after.state_dict[name]) for name, value in before.state_dict.items())
    before.state_dict = after.state_dict = {}
    assert after == before
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["model.pt"]


def test_the_same_content_gives_the_same_bytes(tmp_path):
    for name in ("a.pt", "b.pt"):
        checkpoint().save(tmp_path / name)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


def test_build_gives_the_network_in_evaluation_mode():
    saved = checkpoint()
    reference = models.create("squeezenet1_1", 3).eval()
    reference.load_state_dict(saved.state_dict)
    model = saved.build()
    x = torch.randn(2, 3, 48, 64)
    assert not model.training
    assert torch.equal(model(x), reference(x))


def test_task_and_width_come_back_and_older_files_have_neither(tmp_path):
    saved = checkpoint()
    saved.model_name, saved.task, saved.model_options = "fpn_mobilenet_v2", "segmentation", {"width": 0.25}
    network = models.create("fpn_mobilenet_v2", 3, task="segmentation", width=0.25).eval()
    saved.state_dict = network.state_dict()
    saved.save(tmp_path / "model.pt")
    x = torch.randn(1, 3, 48, 64)
    assert torch.equal(Checkpoint.load(tmp_path / "model.pt").build()(x), network(x))
    saved.model_options = {}
    with pytest.raises(EdgelaneError, match="weights do not fit fpn_mobilenet_v2 with 3 classes"):
        saved.build()
    saved.model_options = {"depth": 3}
    with pytest.raises(EdgelaneError, match=r"was made with depth, which this edgelane .* does not know: update it"):
        saved.build()
    saved.model_options = {"width": "half"}
    with pytest.raises(EdgelaneError, match="width: expected a factor above 0 and up to 4, found 'half'"):
        saved.build()

    checkpoint().save(tmp_path / "old.pt")
    content = torch.load(tmp_path / "old.pt", weights_only=True)
    del content["model_options"]
    torch.save(content, tmp_path / "old.pt")
    assert Checkpoint.load(tmp_path / "old.pt").model_options == {}


def test_build_names_weights_that_do_not_fit():
    saved = checkpoint()
    saved.classes = ("one", "two")
    with pytest.raises(EdgelaneError, match=r"weights do not fit squeezenet1_1 with 2 classes: .*size mismatch"):
        saved.build()
    saved.model_name = "squeezenet9"
    with pytest.raises(EdgelaneError, match="did you mean"):
        saved.build()


def test_missing_file_and_folder_are_told_apart(tmp_path):
    with pytest.raises(EdgelaneError, match=r"model.pt does not exist"):
        Checkpoint.load(tmp_path / "model.pt")
    with pytest.raises(EdgelaneError, match=r"is a folder: expected a file such as .*model.pt"):
        Checkpoint.load(tmp_path)


def test_every_truncation_and_flipped_byte_of_the_weights_is_refused(tmp_path):
    path = tmp_path / "model.pt"
    checkpoint().save(path)
    content = path.read_bytes()
    for length in (0, 1, 4, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(EdgelaneError, match="damaged"):
            Checkpoint.load(path)
    for position in range(len(content) // 9, len(content) * 8 // 9, len(content) // 9):
        damaged = bytearray(content)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(EdgelaneError, match="damaged"):
            Checkpoint.load(path)


class Malice:
    def __reduce__(self):
        return (print, ("code ran",))


def test_foreign_files_are_refused_and_their_code_does_not_run(tmp_path, capsys):
    path = tmp_path / "model.pt"
    torch.save({"state_dict": {}}, path)
    with pytest.raises(EdgelaneError, match="not an edgelane checkpoint"):
        Checkpoint.load(path)
    torch.save({"format": "edgelane.checkpoint", "version": 1, "model_name": Malice()}, path)
    with pytest.raises(EdgelaneError, match="was not opened"):
        Checkpoint.load(path)
    path.write_bytes(pickle.dumps(Malice()))
    with pytest.raises(EdgelaneError, match=r"not opened|damaged"):
        Checkpoint.load(path)
    path.write_text("this is no model\n")
    with pytest.raises(EdgelaneError, match="damaged"):
        Checkpoint.load(path)
    assert "code ran" not in capsys.readouterr().out


def test_a_newer_version_and_wrong_fields_are_named(tmp_path):
    path = tmp_path / "model.pt"
    checkpoint().save(path)
    content = torch.load(path, weights_only=True)
    torch.save({**content, "version": 2, "edgelane": "9.1"}, path)
    with pytest.raises(EdgelaneError, match=r"version 2, written by edgelane 9.1; .* reads up to version 1: update it"):
        Checkpoint.load(path)
    torch.save({**content, "kind": "ternary"}, path)
    with pytest.raises(EdgelaneError, match="found 'ternary'"):
        Checkpoint.load(path)
    for name in ("model_name", "classes", "preprocessing", "state_dict", "compression"):
        torch.save({key: value for key, value in content.items() if key != name}, path)
        with pytest.raises(EdgelaneError, match=rf"damaged: '?{name}'? is missing"):
            Checkpoint.load(path)
    wrong = {"state_dict": [1, 2], "data": 5, "task": None, "kind": ["float"], "compression": 3, "data_options": []}
    for name, value in wrong.items():
        torch.save({**content, name: value}, path)
        with pytest.raises(EdgelaneError, match=f"damaged: {name} is missing or not a "):
            Checkpoint.load(path)


def test_a_full_disk_leaves_the_old_file_and_no_half_of_a_new_one(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"the old one")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))  # the weights take 3 MB
    try:
        with pytest.raises(EdgelaneError, match=r"^cannot write .*model.pt: "):
            checkpoint().save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_left_where_the_file_cannot_be_written(tmp_path):
    (tmp_path / "run").write_text("a file where a folder should be")
    with pytest.raises(EdgelaneError, match=r"cannot write .*model.pt: .*run is not a folder"):
        checkpoint().save(tmp_path / "run" / "model.pt")
    with pytest.raises(EdgelaneError, match=r"model.pt does not exist: `edgelane train` writes it"):
        Checkpoint.load(tmp_path / "run" / "model.pt")
