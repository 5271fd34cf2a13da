"""Rewards that are a Python file: who may use one, what is read of it, and that it runs in the job alone."""

import pytest

from workbench import settings
from workbench.learn.rewards import python_file, sources
from workbench.learn.rewards.python_file import RewardError

GOOD = "def reward(prompts, responses):\n    return [0.0] * len(responses)\n"


@pytest.fixture
def file(tmp_path):
    def write(code):
        path = tmp_path / "mine.py"
        path.write_text(code)
        return path

    return write


def test_a_file_of_ones_own(file):
    reward = python_file.from_file(file("def reward(prompts, responses):\n    return [len(r) for r in responses]\n"))
    assert reward(["a", "b"], ["xx", "xxxx"]) == [2.0, 4.0]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def score(p, r): return [0.0]", r"mine\.py has no function reward"),
        ("1 / 0", r"mine\.py cannot be imported: ZeroDivisionError"),
        (
            "def reward(p, r):\n    x = 1\n    return [1 / 0]",
            r"mine\.py, reward\(\) failed in line 3: ZeroDivisionError",
        ),
        ("def reward(p, r): return [1.0]", r"mine\.py, reward\(\) returned 1 numbers for 2 answers"),
        ("def reward(p, r): return ['good', 'bad']", r"mine\.py, reward\(\) must return a list of numbers"),
        ("def reward(p, r): return 3", r"mine\.py, reward\(\) must return a list of numbers"),
    ],
)
def test_errors_name_file_and_function(file, code, message):
    with pytest.raises(RewardError, match=message):
        python_file.from_file(file(code))(["a", "b"], ["x", "y"])


def test_the_page_takes_no_file_unless_the_owner_names_a_folder(file, tmp_path):
    path = file(GOOD)
    for page in (settings.load(tmp_path), settings.load(tmp_path, host="0.0.0.0"), settings.load(tmp_path, share=True)):
        with pytest.raises(RewardError, match="--rewards DIR"):
            sources.settle(f"file:{path}", page)
    assert sources.settle(f"file:{path}", settings.load(tmp_path, command_line=True))[0] == f"file:{path}"


def test_the_page_takes_only_the_files_of_that_folder(tmp_path):
    rewards, outside = tmp_path / "rewards", tmp_path / "outside.py"
    (rewards / "deeper").mkdir(parents=True)
    for path in (rewards / "mine.py", rewards / "deeper" / "mine.py", outside):
        path.write_text(GOOD)
    (rewards / "link.py").symlink_to(outside)
    page = settings.load(tmp_path, rewards=rewards)
    assert sources.settle("file:mine.py", page)[0] == f"file:{rewards / 'mine.py'}"
    assert sources.settle("2*file:deeper/mine.py", page)[0] == f"2.0*file:{rewards / 'deeper' / 'mine.py'}"
    assert sources.settle(f"file:{rewards / 'mine.py'}", page)[0] == f"file:{rewards / 'mine.py'}"
    bad = ("link.py", "../outside.py", str(outside), "/etc/passwd", "/nowhere/at all.py", "deeper/../../outside.py")
    for name in bad:  # the same words whether there is such a file or not
        with pytest.raises(RewardError, match="accepts only those in"):
            sources.settle(f"file:{name}", page)
    for name in ("a\0b.py", "x" * 5000 + ".py"):
        with pytest.raises(RewardError):
            sources.settle(f"file:{name}", page)


def test_a_folder_that_is_none_is_refused_at_the_start(tmp_path):
    with pytest.raises(ValueError, match="--rewards: there is no folder"):
        settings.load(tmp_path, rewards=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def score(p, r): return [0.0]", r"mine\.py has no function reward"),
        ("class A:\n    def reward(self): ...", r"mine\.py has no function reward"),
        ("def reward(p, r):\n    return [\n", r"mine\.py, line 2: this is not valid Python"),
        ("x = '\0'", r"mine\.py"),
        ("x = " + "(" * 1000 + ")" * 1000, r"mine\.py"),
        ("#" * 1_000_001, r"mine\.py is larger than 1,000,000 bytes"),
    ],
)
def test_a_file_is_read_before_the_start_and_not_run(file, tmp_path, code, message):
    ran = tmp_path / "ran"
    path = file(f"open({str(ran)!r}, 'w')\n{code}") if "return [\n" not in code else file(code)
    with pytest.raises(RewardError, match=message):
        python_file.check(path)
    assert not ran.exists()


@pytest.mark.parametrize(
    "code", [GOOD, "from mine2 import *", "import mine2 as reward", "reward = other", "if 1:\n    def reward(): 1"]
)
def test_whatever_may_name_the_function_is_left_to_the_job(file, code):
    python_file.check(file(code))
