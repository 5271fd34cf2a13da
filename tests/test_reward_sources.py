"""Where rewards come from: names, sums, and what is checked before a run starts."""

import json

import pytest

from workbench import settings
from workbench.learn.data import MissingData
from workbench.learn.rewards import sources
from workbench.learn.rewards.sources import RewardError, Term


def test_names_and_sums():
    assert sources.parse("gold") == [Term(1.0, "gold", "")]
    assert sources.parse("run:7 + 0.3*gold") == [Term(1.0, "run", "7"), Term(0.3, "gold", "")]
    assert sources.parse("2*run:7+-1*file:a+b.py") == [Term(2.0, "run", "7"), Term(-1.0, "file", "a+b.py")]


@pytest.mark.parametrize("text", ["", "silver", "run:", "run:best", "gold:3", "0.3gold", "run:7 +", "file"])
def test_a_name_that_makes_no_sense_is_told(text):
    with pytest.raises(RewardError, match=r"^reward="):
        sources.parse(text)


@pytest.fixture
def file(tmp_path):
    def write(code):
        path = tmp_path / "mine.py"
        path.write_text(code)
        return path

    return write


def test_a_sum_of_sources(file, tmp_path):
    path = file("def reward(prompts, responses):\n    return [float(len(r)) for r in responses]\n")
    total = sources.build(f"2*file:{path} + -0.5*file:{path}", tmp_path, None)
    assert total(["a"], ["xxxx"]) == [6.0]


def test_gold_is_the_sandboxs_own():
    from workbench.sandbox import world
    from workbench.sandbox.gold import score

    prompt = world.sample(1, "train", seed=0)[0].text
    assert sources.gold([prompt], ["No."]) == [score(prompt, "No.").total]
    with pytest.raises(RewardError, match="not of the sandbox's world"):
        sources.gold(["Write a poem about the number 12345."], ["No."])


def test_what_is_missing_is_told_before_anything_starts(tmp_path):
    options = settings.load(tmp_path, command_line=True)
    with pytest.raises(RewardError, match="no such file"):
        sources.check("file:/nowhere/mine.py", options)
    with pytest.raises(RewardError, match="there is no run 7"):
        sources.check("run:7", options)
    with pytest.raises(RewardError, match="only the sandbox's answers"):
        sources.check("gold", settings.load(tmp_path, model=str(tmp_path)))
    with pytest.raises(MissingData, match="There is none yet"):
        sources.settle("newest", options)


def test_newest_is_the_newest_finished_reward_model_of_this_base(tmp_path):
    for number, model, finished in (
        (1, "sandbox", True),
        (2, "sandbox", True),
        (3, "other", True),
        (4, "sandbox", False),
    ):
        folder = tmp_path / "runs" / f"{number:04d}-reward"
        (folder / "adapter").mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"number": number, "model": model, "method": "reward"}))
        if finished:
            (folder / "adapter" / "score.json").write_text("{}")
    chosen, reason = sources.settle("newest", settings.load(tmp_path))
    assert chosen == "run:2" and "newest" in reason
    with pytest.raises(RewardError, match="not a finished reward model"):
        sources.check("run:4", settings.load(tmp_path))


def test_a_sum_names_its_files_by_their_whole_paths(file, tmp_path, monkeypatch):
    path = file("def reward(prompts, responses):\n    return [0.0] * len(responses)\n")
    monkeypatch.chdir(tmp_path)
    chosen, _ = sources.settle("gold + 0.00001*file:mine.py", settings.load(tmp_path, command_line=True))
    assert chosen == f"gold + 0.00001*file:{path}"
    (tmp_path / "a + b").mkdir()
    path.rename(tmp_path / "a + b" / "mine.py")
    with pytest.raises(RewardError, match="rename it"):
        sources.settle("file:mine.py", settings.load(tmp_path, rewards=tmp_path / "a + b"))
