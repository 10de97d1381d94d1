from __future__ import annotations

from pathlib import Path

import pytest

from edgelane.demo.steps import Steps
from edgelane.errors import EdgelaneError


class Chain:
    """Two steps that write one file each, as often as they are called; every call is a new process's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work: list[str] = []
        self.said: list[str] = []

    def run(self, first: int = 1, second: int = 1, origin: str = "data", fail: bool = False) -> Steps:
        steps = Steps(self.folder, self.said.append, {"data": origin})
        for name, value in (("first", first), ("second", second)):
            output = self.folder / name / "out.txt"

            def work(name: str = name, output: Path = output) -> None:
                self.work.append(name)
                output.parent.mkdir(exist_ok=True)
                if fail and name == "second":
                    (output.parent / "half.txt").write_text("")
                    raise RuntimeError("power cut")
                output.write_text(name)

            steps.run(name, f"the {name} step", {"value": value}, [output], work)
        return steps


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(tmp_path)


def test_finished_steps_are_not_repeated(chain):
    seconds = chain.run().seconds
    again = chain.run().seconds
    assert chain.work == ["first", "second"]
    assert again == seconds
    assert "done before" in chain.said[-1]


@pytest.mark.parametrize(
    ("change", "repeated"),
    [
        ({"second": 2}, ["second"]),
        ({"first": 2}, ["first", "second"]),
        ({"origin": "other"}, ["first", "second"]),
    ],
)
def test_a_change_repeats_the_step_and_all_that_follow(chain, change, repeated):
    chain.run()
    chain.work.clear()
    chain.run(**change)
    assert chain.work == repeated


def test_a_lost_output_is_made_again(chain, tmp_path):
    chain.run()
    (tmp_path / "second" / "out.txt").unlink()
    chain.run()
    assert chain.work == ["first", "second", "second"]


def test_a_damaged_stamp_of_an_existing_folder_is_not_taken_for_permission_to_delete(chain, tmp_path):
    chain.run()
    (tmp_path / "steps" / "first.json").write_text("{")
    with pytest.raises(EdgelaneError, match="was not made by the demo"):
        chain.run()


def test_an_interrupted_step_keeps_what_it_had_and_goes_on(chain, tmp_path):
    with pytest.raises(RuntimeError, match="power cut"):
        chain.run(fail=True)
    chain.run()
    assert chain.work == ["first", "second", "second"]
    assert (tmp_path / "second" / "half.txt").exists(), "a checkpoint of the same step is worth keeping"


def test_an_interrupted_step_with_other_settings_starts_afresh(chain, tmp_path):
    with pytest.raises(RuntimeError, match="power cut"):
        chain.run(fail=True)
    chain.run(second=2)
    assert not (tmp_path / "second" / "half.txt").exists()


def test_a_folder_of_somebody_else_is_left_alone(chain, tmp_path):
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "holiday.jpg").write_text("")
    with pytest.raises(EdgelaneError, match="was not made by the demo: choose another folder"):
        chain.run()
    assert (tmp_path / "first" / "holiday.jpg").exists()
    assert chain.work == []


def test_a_step_that_writes_nothing_is_an_error(tmp_path):
    steps = Steps(tmp_path, print, {})
    with pytest.raises(EdgelaneError, match="the step lazy did not write"):
        steps.run("lazy", "nothing", {}, [tmp_path / "lazy" / "out"], lambda: None)
