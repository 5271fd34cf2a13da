"""What was acknowledged is there: threads, processes, kills, full disks, older and newer workspaces."""

import contextlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from workbench import store as store_package
from workbench.records import Comparison, Demonstration, Prompt, Response, Sampling, StepLabels
from workbench.store import Conflict, Store, StoreBusy, StoreError, StoreTooNew, database

ROOT = Path(__file__).parent.parent


def pair(
    store: Store, prompt: str = "What is a cat?", texts: tuple[str, ...] = ("An animal.", "No idea.")
) -> list[Response]:
    (stored,) = store.add_prompts([prompt], "person")
    return store.add_responses([Response(0, stored.id, text, "tiny") for text in texts])


def vote(store: Store, answers: list[Response], rater: str = "ada", **more) -> Comparison:
    ids = [answer.id for answer in answers]
    return store.add_comparison(answers[0].prompt_id, answers, [[id] for id in ids], ids[::-1], rater, **more)


# Prompts and responses


def test_the_same_prompt_is_stored_once(store: Store):
    first = store.add_prompts(["b", "a", "b"], "person", kinds=["fact", None, None])
    again = store.add_prompts(["a", "c"], "sandbox")
    assert [prompt.text for prompt in first] == ["b", "a", "b"]
    assert first[0] == first[2] and first[0].kind == "fact"
    assert again[0] == first[1] and again[0].source == "person"
    assert [prompt.text for prompt in store.prompts()] == ["b", "a", "c"]


def test_prompts_by_split(store: Store):
    store.add_prompts([f"question {n}" for n in range(60)], "person")
    train, heldout = store.prompts("train"), store.prompts("heldout")
    assert train and heldout and len(train) + len(heldout) == 60
    assert all(prompt.split == "heldout" for prompt in heldout)


@pytest.mark.parametrize("text", ["", "  \n", "a\0b", "\ud83d", "x" * 1_000_001])
def test_what_cannot_be_kept_is_refused_and_harms_nothing(store: Store, text: str):
    with pytest.raises(ValueError, match="prompt"):
        store.add_prompts(["good", text], "person")
    assert store.prompts() == []
    assert len(store.add_prompts(["good"], "person")) == 1


def test_responses_come_back_as_they_were(store: Store):
    (prompt,) = store.add_prompts(["q"], "person")
    new = Response(0, prompt.id, "", "tiny", 7, Sampling(0.5, 0.9, 12, 3), 1.5, 4, True, "model")
    (stored,) = store.add_responses([new])
    assert stored.id > 0
    assert store.responses(prompt.id) == [stored] == [store.response(stored.id)]
    assert stored == Response(stored.id, *list(vars(new).values())[1:])


# Demonstrations


def test_a_stale_edit_is_refused(store: Store):
    (prompt,) = store.add_prompts(["q"], "person")
    written = store.add_demonstration(prompt.id, "first", "ada")
    edited = store.edit_demonstration(written.id, "second", written.version)
    assert (edited.text, edited.version) == ("second", 2)
    with pytest.raises(Conflict, match="changed"):
        store.edit_demonstration(written.id, "third", written.version)
    store.delete_demonstration(written.id)
    with pytest.raises(Conflict, match="deleted"):
        store.edit_demonstration(written.id, "third", 2)
    assert store.demonstrations() == []
    store.restore_demonstration(written.id)
    assert store.demonstrations() == [edited]


def test_drafts_are_kept_until_saved(store: Store):
    first, second = store.add_prompts(["q", "r"], "person")
    store.save_draft("ada", first.id, "beg")
    store.save_draft("ada", first.id, "begun")
    store.save_draft("bob", first.id, "mine")
    store.save_draft("ada", second.id, "x")
    store.save_draft("ada", second.id, "")
    assert store.drafts("ada") == {first.id: "begun"}
    store.add_demonstration(first.id, "done", "ada")
    assert store.drafts("ada") == {} and store.drafts("bob") == {first.id: "mine"}


# Comparisons


def test_a_vote_sent_twice_is_stored_once(store: Store):
    answers = pair(store)
    first = vote(store, answers, token="t1", seconds=2.5, why="shorter", question="Which is true?")
    assert vote(store, answers, token="t1") == first
    assert vote(store, answers, token="t2") != first
    assert [comparison.id for comparison in store.comparisons()] == [first.id, store.comparisons()[1].id]
    assert first.groups == ((answers[0].id,), (answers[1].id,)) and first.shown == (answers[1].id, answers[0].id)
    assert (first.seconds, first.why, first.question, first.prompt) == (
        2.5,
        "shorter",
        "Which is true?",
        "What is a cat?",
    )


@pytest.mark.parametrize("act", ["vote", "own", "demonstration", "verdict", "steps"])
def test_a_token_that_stands_for_something_else_is_refused_and_not_taken_for_it(store: Store, act: str):
    first, second = pair(store, "Question?"), pair(store, "Another question?")

    def send(answers: list[Response], rater: str, token: str = "one token"):
        prompt, ids = answers[0].prompt_id, [answer.id for answer in answers]
        if act == "vote":
            return store.add_comparison(prompt, ids, [[id] for id in ids], ids, rater, token=token)
        if act == "own":
            return store.add_demonstration_and_comparison(prompt, "Mine.", ids, ids, rater, token=token)[1]
        if act == "demonstration":
            return store.add_demonstration(prompt, "Mine.", rater, token=token)
        if act == "verdict":
            return store.add_verdict(prompt, ids, ids[0], rater, token=token)
        return store.add_step_labels(prompt, ["A step."], [1], rater, token=token)

    stored = send(first, "ann")
    assert send(first, "ann").id == stored.id  # the same again, after a lost connection
    before = store.counts()
    for answers, rater in ((first, "bob"), (second, "ann")):
        with pytest.raises(Conflict, match="not saved"):
            send(answers, rater)
    assert store.counts() == before
    assert send(first, "bob", "another token").id != stored.id


def test_one_vote_sent_from_thirty_threads_is_stored_once(store: Store):
    answers, seen = pair(store), []
    threads = [threading.Thread(target=lambda: seen.append(vote(store, answers, token="same").id)) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 30 and len(set(seen)) == 1 == len(store.comparisons())


def test_a_vote_must_speak_of_its_own_answers(store: Store):
    one, two = pair(store)
    other = pair(store, "What is a dog?")
    good = {"responses": [one, two], "groups": [[one.id], [two.id]], "shown": [one.id, two.id], "rater": "ada"}
    for wrong in (
        {"groups": [[one.id]]},
        {"groups": [[one.id], [two.id], []]},
        {"groups": [[one.id, one.id], [two.id]]},
        {"shown": [one.id]},
        {"acceptable": 3},
        {"rater": " "},
        {"responses": [one], "groups": [[one.id]], "shown": [one.id]},
    ):
        with pytest.raises(ValueError):
            store.add_comparison(one.prompt_id, **(good | wrong))
    ids = [one.id, other[0].id]
    with pytest.raises(KeyError, match=str(other[0].id)):
        store.add_comparison(one.prompt_id, ids, [ids], ids, "ada")
    assert store.comparisons() == []


def test_change_needs_the_version_that_was_read(store: Store):
    answers = pair(store)
    first = vote(store, answers)
    tie = store.change_comparison(first.id, [[answers[0].id, answers[1].id]], 0, version=1)
    assert tie.pairs() == [] and tie.acceptable == 0 and tie.version == 2
    with pytest.raises(Conflict):
        store.change_comparison(first.id, first.groups, version=1)
    with pytest.raises(ValueError):
        store.change_comparison(first.id, [[answers[0].id]])
    assert store.comparisons("ada") == [tie] and store.comparisons("bob") == []


def test_own_answer_beats_both_is_one_act(store: Store):
    answers = pair(store)
    ids = [answer.id for answer in answers]
    written, judged = store.add_demonstration_and_comparison(answers[0].prompt_id, "A pet.", ids, ids, "ada", token="t")
    again = store.add_demonstration_and_comparison(answers[0].prompt_id, "A pet.", ids, ids, "ada", token="t")
    assert again == (written, judged)
    assert [(better.text, worse.id) for better, worse in judged.pairs()] == [("A pet.", ids[0]), ("A pet.", ids[1])]
    assert judged.pairs()[0][0].author == "person"
    with pytest.raises(KeyError):  # both or neither
        store.add_demonstration_and_comparison(answers[0].prompt_id, "A pet.", [ids[0], 999], [ids[0], 999], "ada")
    assert store.counts()["demonstrations"] == store.counts()["comparisons"] == 1
    assert store.undo("ada") == ("comparison", judged.id, answers[0].prompt_id)
    assert store.counts()["demonstrations"] == store.counts()["comparisons"] == 0
    store.restore_comparison(judged.id)
    assert store.counts()["demonstrations"] == store.counts()["comparisons"] == 1


def test_undo_goes_back_through_votes_and_skips(store: Store):
    answers = pair(store)
    prompt = answers[0].prompt_id
    first = vote(store, answers)
    skipped = store.skip("ada", prompt)
    store.skip("ada", prompt, "demonstration")
    theirs = vote(store, answers, rater="bob")
    assert store.skips("ada") == [prompt] and store.judged("ada") == {prompt: 2} and store.judged() == {prompt: 3}
    assert store.undo("ada") == ("skip", skipped, prompt)
    assert store.undo("ada") == ("comparison", first.id, prompt)
    assert store.undo("ada") is None
    assert store.undo("ada", ["skip:demonstration"]) is not None
    assert store.comparisons() == [theirs]
    store.restore_comparison(first.id)
    assert store.comparisons() == [first, theirs]


def test_verdicts(store: Store):
    one, two = pair(store)
    shown = [two.id, one.id]
    first = store.add_verdict(one.prompt_id, shown, two.id, "ada", seconds=1.0, token="v")
    assert store.add_verdict(one.prompt_id, shown, two.id, "ada", token="v") == first
    tie = store.add_verdict(one.prompt_id, shown, "tie", "ada", simulated=True)
    assert store.verdicts() == [first, tie] and first.choice == two.id and tie.choice == "tie"
    with pytest.raises(ValueError):
        store.add_verdict(one.prompt_id, shown, 999, "ada")
    store.delete_verdict(first.id)
    assert store.verdicts() == [tie] and store.counts()["simulated_verdicts"] == 1


def test_order_is_by_sequence_when_the_clock_runs_backwards(store: Store, monkeypatch: pytest.MonkeyPatch):
    answers = pair(store)
    times = iter(["2030-01-01T00:00:00", "1999-01-01T00:00:00", "2010-01-01T00:00:00"])
    monkeypatch.setattr(store_package.writing, "now", lambda: next(times))
    ids = [vote(store, answers).id for _ in range(3)]
    assert [comparison.seq for comparison in store.comparisons()] == ids == sorted(ids)


# Answers judged step by step


def test_step_labels_come_back_and_undo_takes_them_back(store: Store):
    (prompt,) = store.add_prompts(["3 + 4 - 2?"], "person")
    first = store.add_step_labels(prompt.id, ["3 + 4 = 7", ", so 6."], [1, -1], "ada", seconds=2.5, token="once")
    assert first == StepLabels(
        first.id, prompt.id, "3 + 4 - 2?", ("3 + 4 = 7", ", so 6."), (1, -1), "ada", seconds=2.5, seq=first.id
    )
    assert first.answer == "3 + 4 = 7, so 6."
    assert store.add_step_labels(prompt.id, ["3 + 4 = 7", ", so 6."], [1, -1], "ada", token="once") == first
    by_rule = store.add_step_labels(prompt.id, ["Hm."], [0], "ada", simulated=True)
    assert store.step_labels() == [first, by_rule]
    assert store.counts()["step_labels"] == 2 and store.counts()["simulated_step_labels"] == 1
    skipped = store.skip("ada", prompt.id, "steps")
    assert store.undo("ada", ("steps", "skip:steps")) == ("skip:steps", skipped, prompt.id)
    assert store.undo("ada", ("steps", "skip:steps")) == ("steps", by_rule.id, prompt.id)
    assert store.undo("bob", ("steps",)) is None
    store.delete_step_labels(first.id)
    assert store.step_labels() == [] and store.counts()["step_labels"] == 0
    store.restore_step_labels(by_rule.id)
    assert store.step_labels() == [by_rule]


@pytest.mark.parametrize(
    "steps, labels, reason",
    [
        ([], [], "0 steps, but 0 labels"),
        (["a"], [1, 0], "1 steps, but 2 labels"),
        (["a", " "], [1, 0], "Step 2 is empty"),
        (["a"], [2], "The label of step 1 is 2"),
        (["a"], [True], "The label of step 1 is True"),
    ],
)
def test_steps_and_labels_must_match(store: Store, steps, labels, reason):
    (prompt,) = store.add_prompts(["q"], "person")
    with pytest.raises(ValueError, match=reason):
        store.add_step_labels(prompt.id, steps, labels, "ada")
    with pytest.raises(ValueError, match=reason):
        store.add_many([StepLabels(0, 0, "other", tuple(steps), tuple(labels), "file")])
    with pytest.raises(KeyError, match="no prompt 99"):
        store.add_step_labels(99, ["a"], [1], "ada")
    assert store.step_labels() == [] and len(store.prompts()) == 1


def test_imported_step_labels_are_stored_once_and_come_back_when_deleted(store: Store):
    rows = [StepLabels(0, 0, "q", ("a", " b"), (1, -1), "file"), StepLabels(0, 0, "q", ("a", " b"), (1, 1), "file")]
    assert store.add_many(rows) == store_package.Added(prompts=1, steps=2)
    store.delete_step_labels(store.step_labels()[0].id)
    assert store.add_many(rows) == store_package.Added(known=2)
    assert [row.labels for row in store.step_labels()] == [(1, -1), (1, 1)]


# Many rows at once


def test_add_many_stores_rows_once(store: Store):
    two = (Response(1, 0, "yes", "a"), Response(2, 0, "no", "b"))
    rows = [
        Prompt(0, "alone", "import:f"),
        Demonstration(0, 0, "q", "answer", "file", "import:f", True),
        Comparison(0, 0, "q", two, ((2,), (1,)), (1, 2), None, "file", source="import:f"),
    ]
    assert store.add_many(rows) == store_package.Added(prompts=2, demonstrations=1, comparisons=1, known=0)
    assert store.add_many(rows[1:]) == store_package.Added(prompts=0, demonstrations=0, comparisons=0, known=2)
    (judged,) = store.comparisons()
    assert [(better.text, worse.text) for better, worse in judged.pairs()] == [("no", "yes")]
    store.delete_comparison(judged.id)
    store.add_many(rows)
    assert store.comparisons() == [judged]
    assert store.counts()["simulated_demonstrations"] == 1


def test_add_many_is_all_or_nothing(store: Store):
    bad = Comparison(0, 0, "q", (Response(1, 0, "a", "m"),), ((1,),), (1,), None, "file")
    with pytest.raises(ValueError):
        store.add_many([Demonstration(0, 0, "p", "answer", "file"), bad])
    assert set(store.counts().values()) == {0}


# Many at once, and sudden ends


@pytest.mark.slow
def test_thirty_threads_lose_nothing(store: Store):
    answers = pair(store)
    failures: list[Exception] = []

    def write(name: int) -> None:
        try:
            for n in range(50):
                vote(store, answers, rater=f"rater {name}", token=f"{name}-{n}")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    stored = store.comparisons()
    assert len(stored) == 1500 == len({comparison.id for comparison in stored})
    assert [comparison.seq for comparison in stored] == sorted(comparison.seq for comparison in stored)
    for name in range(30):
        assert len([comparison for comparison in stored if comparison.rater == f"rater {name}"]) == 50


def test_a_bad_write_does_not_take_its_neighbours_along(store: Store):
    """Ten good and ten impossible writes that wait together end up in one group."""
    answers = pair(store)
    outcomes: list[str] = []
    begun, hold = threading.Event(), threading.Event()
    blocker = threading.Thread(target=store._write, args=(lambda connection: (begun.set(), hold.wait(30)),))
    blocker.start()
    assert begun.wait(30)

    def write(n: int) -> None:
        try:
            if n % 2:
                store.delete_comparison(10_000 + n)
            else:
                vote(store, answers)
            outcomes.append("saved")
        except KeyError:
            outcomes.append("refused")

    threads = [threading.Thread(target=write, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    while store._writer._queue.qsize() < 20:
        time.sleep(0.001)
    hold.set()
    for thread in [*threads, blocker]:
        thread.join()
    assert sorted(outcomes) == ["refused"] * 10 + ["saved"] * 10
    assert len(store.comparisons()) == 10


WRITE_FOR_EVER = """
import sys, threading
from workbench.records import Response
from workbench.store import Store

store = Store(sys.argv[1])
(prompt,) = store.add_prompts(["What is a cat?"], "person")
answers = store.add_responses([Response(0, prompt.id, text, "tiny") for text in ("An animal.", "No idea.")])
ids = [answer.id for answer in answers]
lock = threading.Lock()

def write():
    while True:
        saved = store.add_comparison(prompt.id, ids, [[ids[0]], [ids[1]]], ids, "ada")
        with lock:
            sys.stdout.write(f"{saved.id}\\n")
            sys.stdout.flush()

for _ in range(8):
    threading.Thread(target=write).start()
"""


def python(code: str, *arguments: object) -> subprocess.Popen:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill(process: subprocess.Popen) -> str:
    process.send_signal(signal.SIGKILL)
    out, _ = process.communicate()
    return out


@pytest.mark.parametrize("acknowledged", [1, 200, 700])
def test_02_kill_while_writing_loses_nothing_acknowledged(tmp_path: Path, acknowledged: int):
    """Faults 1 and 2: eight threads write, the process is killed, every number it had printed is there."""
    path = tmp_path / "workbench.db"
    process = python(WRITE_FOR_EVER, path)
    head = [process.stdout.readline() for _ in range(acknowledged)]
    printed = {int(line) for line in ("".join(head) + kill(process)).split("\n")[:-1]}
    assert len(printed) >= acknowledged
    with Store(path) as store:
        kept = {comparison.id for comparison in store.comparisons()}
        assert printed <= kept
        assert len(kept) - len(printed) <= 8  # written, but killed before it could be told
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_two_processes_write_at_once(store: Store):
    """The page and the command line on one workspace: both go on, ids never clash."""
    # eight threads without a pause can keep SQLite's lock from whoever asks for it now and then, for longer than we wait
    paced = WRITE_FOR_EVER.replace("while True:", "while not time.sleep(0.05):").replace(
        "import sys,", "import sys, time,"
    )
    process = python(paced, store.where)
    process.stdout.readline()
    answers = pair(store)
    mine = [vote(store, answers, rater="bob").id for _ in range(100)]
    theirs = [int(line) for line in kill(process).split("\n")[:-1]]
    stored = [comparison.id for comparison in store.comparisons()]
    assert set(mine) | set(theirs) <= set(stored) and len(set(stored)) == len(stored)


def test_a_workspace_locked_for_too_long_says_so(store: Store, monkeypatch: pytest.MonkeyPatch):
    """Fault 17, with the wait of 10 s shortened: it waits, fails visibly, and works again afterwards."""
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.3)
    other = sqlite3.connect(store.where, isolation_level=None)
    with Store(store.where) as impatient:
        answers = pair(impatient)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy, match="not saved"):
            vote(impatient, answers)
        assert impatient.comparisons() == []  # reading goes on
        other.execute("ROLLBACK")
        vote(impatient, answers)
        assert len(store.comparisons()) == 1


def test_a_short_lock_is_waited_out(store: Store):
    answers = pair(store)
    other = sqlite3.connect(store.where, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.5, lambda: other.execute("ROLLBACK"))
    release.start()
    assert vote(store, answers).id
    release.join()


def test_14_a_full_disk_is_said_and_what_was_saved_stays(store: Store):
    """SQLite's own page limit gives the error of a full disk."""
    answers = pair(store)
    first = vote(store, answers)

    def limit(connection, pages: str) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")

    store._write(lambda connection: limit(connection, "1"))
    with pytest.raises(StoreError, match="full"):
        for _ in range(100):
            vote(store, answers, why="x" * 5000)
    kept = store.comparisons()
    assert kept[0] == first
    store._write(lambda connection: limit(connection, "1000000"))
    vote(store, answers)
    assert len(store.comparisons()) == len(kept) + 1


def test_durability_is_switched_on(store: Store):
    """A power cut cannot be rehearsed here; what guards against it can be read off: WAL, flushed at every commit."""
    pragmas = store._write(
        lambda c: [c.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
    )
    assert pragmas == ["wal", 2]


def test_a_closed_store_refuses(tmp_path: Path):
    store = Store(tmp_path / "w.db")
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.add_prompts(["q"], "person")


def test_any_path_will_do(tmp_path: Path):
    path = tmp_path / "50 % off? #1 ü" / "w&b?mode=ro.db"
    for place in (path, str(path)):
        with Store(place) as store:
            store.add_prompts(["q"], "person")
    assert path.exists() and store.where == str(path)


def test_a_database_that_was_emptied_is_no_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(database, "MAKING_SECONDS", 0.05)
    file = tmp_path / "workbench.db"
    with Store(file) as store:
        store.add_prompts(["Question?"], "person")
    file.write_bytes(b"")
    for place in (file, f"sqlite:///{file}"):
        with pytest.raises(StoreError, match="is empty"):
            Store(place)
    assert file.read_bytes() == b"" and [f.name for f in tmp_path.iterdir() if f.suffix != ".db"] == []
    file.unlink()
    with Store(file) as store:
        assert store.prompts() == []


def test_a_database_that_another_process_is_making_is_waited_for(tmp_path: Path):
    file = tmp_path / "workbench.db"
    file.touch()  # as SQLite leaves it before it writes the first page
    timer = threading.Timer(0.2, lambda: sqlite3.connect(file).execute("PRAGMA journal_mode=WAL"))
    timer.start()
    with Store(file) as store:
        assert store.prompts() == []
    timer.join()


def test_a_password_is_not_shown():
    url = database.url_of("postgresql+psycopg://ada:secret@db/votes")
    assert "secret" not in database.place(url) and "db/votes" in database.place(url)


def test_places_that_are_no_database_are_named(tmp_path: Path):
    with pytest.raises(StoreError, match="folder"):
        Store(tmp_path)
    with pytest.raises(StoreError, match="NUL"):
        Store("a\0b.db")
    (tmp_path / "notes.db").write_text("these are notes, not a database, and they must stay\n" * 50)
    with pytest.raises(StoreError, match="not a readable database"):
        Store(tmp_path / "notes.db")
    assert "must stay" in (tmp_path / "notes.db").read_text()
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be created"):
        Store(tmp_path / "file" / "workbench.db")


# Older and newer workspaces


NEXT = """
import os, signal
import sqlalchemy as sa
from alembic import op

revision, down_revision = "0004", "0003"


def upgrade():
    op.add_column("prompts", sa.Column("language", sa.String(20)))
    op.execute(sa.text("UPDATE prompts SET text = 'half done'"))
    {middle}
    op.create_table("rooms", sa.Column("id", sa.Integer, primary_key=True))
"""


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """A copy of the migrations with one more."""
    folder = tmp_path / "newer"
    shutil.copytree(database.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / "0004_next.py").write_text(NEXT.format(middle=""))
    return folder


def test_an_older_workspace_is_backed_up_and_migrated(store: Store, newer: Path, monkeypatch: pytest.MonkeyPatch):
    (prompt,) = store.add_prompts(["kept"], "person")
    assert store.backup is None
    monkeypatch.setattr(database, "MIGRATIONS", newer)
    with Store(store.where) as migrated:
        assert migrated.backup is not None and migrated.backup.name == "workbench-version-0003.db"
        old = sqlite3.connect(migrated.backup)
        assert old.execute("SELECT text FROM prompts").fetchall() == [("kept",)]
        assert old.execute("SELECT version_num FROM alembic_version").fetchone() == ("0003",)
        assert migrated.prompts()[0].text == "half done"
        assert migrated._all(store_package.tables.prompts.select())[0]["id"] == prompt.id
    assert [path.name for path in Path(store.where).parent.glob("*.part")] == []
    with Store(store.where) as again:
        assert again.backup is None


def test_a_workspace_of_the_first_version_learns_to_keep_step_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = tmp_path / "first"
    shutil.copytree(database.MIGRATIONS, first, ignore=shutil.ignore_patterns("__pycache__", "000[2-9]*"))
    with monkeypatch.context() as patch:
        patch.setattr(database, "MIGRATIONS", first)
        Store(tmp_path / "workbench.db").close()
    with contextlib.closing(sqlite3.connect(tmp_path / "workbench.db")) as old, old:
        old.execute("INSERT INTO prompts VALUES (7, 'kept', 'abc', 'person', NULL, '2026-01-01')")
    with Store(tmp_path / "workbench.db") as store:
        (prompt,) = store.prompts()
        assert store.backup is not None and (prompt.id, prompt.text) == (7, "kept")
        assert store.add_step_labels(prompt.id, ["a"], [1], "ada").prompt == "kept"


def test_a_newer_workspace_is_refused_and_left_alone(store: Store, newer: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(database, "MIGRATIONS", newer)
        Store(store.where).close()
    with pytest.raises(StoreTooNew, match=r"newer workbench .*0004"):
        Store(store.where)
    assert sqlite3.connect(store.where).execute("SELECT version_num FROM alembic_version").fetchone() == ("0004",)


def test_a_migration_killed_half_way_opens_unharmed(store: Store, newer: Path, monkeypatch: pytest.MonkeyPatch):
    """Fault 19: the process dies between two steps of the migration."""
    store.add_prompts(["kept"], "person")
    half = NEXT.format(middle="os.kill(os.getpid(), signal.SIGKILL)")
    (newer / "versions" / "0004_next.py").write_text(half)
    code = """
        import sys, pathlib
        from workbench.store import Store, database
        database.MIGRATIONS = pathlib.Path(sys.argv[2])
        Store(sys.argv[1])
    """
    process = python(code, store.where, newer)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, errors
    with Store(store.where) as old:
        assert [prompt.text for prompt in old.prompts()] == ["kept"]
        old.add_prompts(["and goes on"], "person")
    (newer / "versions" / "0004_next.py").write_text(NEXT.format(middle=""))
    monkeypatch.setattr(database, "MIGRATIONS", newer)
    with Store(store.where) as migrated:
        assert len(migrated.prompts()) == 2
        assert migrated.backup is not None and migrated.backup.name == "workbench-version-0003-2.db"


def test_several_processes_open_a_new_workspace_at_once(tmp_path: Path):
    code = "import sys; from workbench.store import Store; Store(sys.argv[1]).add_prompts([sys.argv[2]], 'person')"
    processes = [python(code, tmp_path / "new" / "workbench.db", n) for n in range(3)]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    with Store(tmp_path / "new" / "workbench.db") as store:
        assert sorted(prompt.text for prompt in store.prompts()) == ["0", "1", "2"]


def test_migrations_and_tables_agree(store: Store):
    """A column added to the tables without a migration, or the reverse, is found here."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with store._readers.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, store_package.tables.metadata) == []


def test_the_schema_is_accepted_by_postgresql():
    """Nothing of SQLite's own in the tables: they compile for the other database, too."""
    from sqlalchemy.dialects import postgresql
    from sqlalchemy.schema import CreateTable

    for table in store_package.tables.metadata.sorted_tables:
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=postgresql.dialect()))


def test_foreign_keys_hold(store: Store):
    with pytest.raises((StoreError, IntegrityError)):
        store.add_responses([Response(0, 999, "answer", "tiny")])
    assert store.responses() == []


def test_a_deleted_prompt_takes_what_belongs_to_it_and_brings_it_back(store: Store):
    kept, gone = store.add_prompts(["kept", "gone"], "person")
    written = store.add_demonstration(gone.id, "an answer", "ada")
    two = store.add_responses([Response(0, gone.id, text, "tiny") for text in "ab"])
    vote = store.add_comparison(gone.id, two, [[two[0].id], [two[1].id]], [r.id for r in two], "ada")
    before = store.counts()
    store.delete_prompt(gone.id)
    assert store.prompts() == [kept] and store.demonstrations() == [] and store.comparisons() == []
    assert (store.counts()["prompts"], store.counts()["demonstrations"], store.counts()["comparisons"]) == (1, 0, 0)
    store.restore_prompt(gone.id)
    assert store.prompts() == [kept, gone] and store.counts() == before
    assert store.demonstrations() == [written] and store.comparisons() == [vote]
    with pytest.raises(KeyError, match="number 99 in prompts"):
        store.delete_prompt(99)


def test_a_deleted_prompt_that_is_added_again_is_back_under_its_number(store: Store):
    kept, gone = store.add_prompts(["kept", "gone"], "person")
    store.delete_prompt(gone.id)
    assert store.add_prompts(["gone", "kept"], "person") == [gone, kept]
    assert store.prompts() == [kept, gone]
    store.delete_prompt(gone.id)
    assert store.add_many([Prompt(0, "gone"), Prompt(0, "kept")]).prompts == 1
