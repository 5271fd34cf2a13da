"""The frame: what a tab may call, who may come in, what the header says. No browser needed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest

from tests.pages import Scripted
from workbench.learn.run_files import RunStatus
from workbench.settings import Settings
from workbench.store import StoreBusy
from workbench.ui import access, overview, payload, shell
from workbench.ui.context import Refused

ROOT = Path(__file__).parents[1]


@pytest.fixture
def context(tmp_path):
    page = Scripted(tmp_path)
    yield page
    page.close()


def run(number, method, state="done", **status):
    return SimpleNamespace(
        number=number,
        method=method,
        state=state,
        active=state in ("waiting", "starting", "running"),
        status=RunStatus(state=state, **status),
    )


def counts(written=0, ranked=0, votes=0, simulated=0, simulated_votes=0):
    return {
        "demonstrations": written,
        "comparisons": ranked,
        "verdicts": votes,
        "simulated_comparisons": simulated,
        "simulated_demonstrations": 0,
        "simulated_verdicts": simulated_votes,
    }


def test_simulated_votes_are_named_and_do_not_stand_for_a_persons():
    have = counts(written=40, ranked=200, votes=20, simulated_votes=20)
    finished = [run(2, "dpo"), run(1, "sft")]
    assert overview.steps(have, finished, None)[-1]["text"] == "20 simulated"
    assert overview.next_step(have, finished, None)["before"] == "Next: "


# what a tab may call


def call(context, function, sent):
    return shell.endpoint(context, function)(sent, None)


def test_the_server_names_the_rater_whatever_the_page_says(context):
    def who(context, sent):
        return {"who": sent["rater"]}

    assert call(context, who, {"rater": "somebody else"}) == {"who": "you"}


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Refused("No such pair. Take another."), "No such pair. Take another."),
        (ValueError("The answer is empty"), "The answer is empty"),
        (StoreBusy("The database is busy"), "The database is busy"),
        (KeyError("There is no prompt 7"), "There is no prompt 7. It may have been removed; reload the page."),
    ],
)
def test_what_is_refused_comes_back_as_its_words(context, error, text):
    def refuses(context, sent):
        raise error

    assert call(context, refuses, {}) == {"error": text}


def test_a_mistake_of_ours_is_logged_and_named(context, caplog):
    def breaks(context, sent):
        return 1 / 0

    answer = call(context, breaks, {})
    assert "ZeroDivisionError" in answer["error"] and "Nothing saved before is lost" in answer["error"]
    assert "breaks failed" in caplog.text and "Traceback" in caplog.text


def test_a_payload_that_is_none_is_refused(context):
    assert "no payload" in call(context, lambda context, sent: {}, ["x"])["error"]


def test_names_of_functions_cannot_hide_what_gradio_needs(context):
    def stop(context, sent):
        return {}

    with gr.Blocks():
        panel = shell.panel(context, "rank", [stop])
    assert panel.wb_stop({}, None) == {} and callable(gr.HTML.stop)


def test_the_request_is_given_by_gradio_and_is_no_argument_of_the_page(context):
    from gradio.helpers import special_args

    served = shell.endpoint(context, lambda context, sent: {"rater": sent["rater"]})
    inputs, *_ = special_args(served, [{"a": 1}], SimpleNamespace(app=None, cookies={}))
    assert len(inputs) == 2 and served(*inputs) == {"rater": "you"}


def test_the_rater_is_the_name_of_the_login(context):
    app = SimpleNamespace(auth=True, cookie_id="c", tokens={"secret": "ann"})
    assert context.rater(SimpleNamespace(app=app, cookies={"access-token-c": "secret"})) == "ann"
    assert context.rater(SimpleNamespace(app=app, cookies={"access-token-c": "wrong"})) == "you"


@pytest.mark.parametrize("bad", [{}, {"id": "7"}, {"id": -1}, {"id": True}, {"id": 1.5}, {"id": 2**60}])
def test_ids_are_whole_numbers(bad):
    with pytest.raises(Refused, match="id"):
        payload.read_number(bad, "id")


def test_times_that_are_none_are_left_out():
    assert payload.read_seconds({"seconds": 3.5}) == 3.5
    for odd in (None, "3", -1, 4000, float("nan"), float("inf"), True):
        assert payload.read_seconds({"seconds": odd}) is None


# the looks are complete and nothing comes from elsewhere


def test_the_style_names_only_tokens_that_exist():
    import re

    text = shell.css()
    defined = set(re.findall(r"(--[\w-]+)\s*:", text))
    for script in shell.STATIC.glob("*.js"):  # a bar's width or a model's colour is set by the script that draws it
        defined |= set(re.findall(r"[\"'`\s](--[\w-]+)[\"':]", script.read_text(encoding="utf-8")))
    assert set(re.findall(r"var\((--[\w-]+)", text)) - defined == set()


def test_no_file_of_the_page_names_another_host():
    for file in shell.STATIC.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text and "https://" not in text and "@import" not in text, file.name


def test_no_script_of_the_page_writes_html():
    for file in shell.STATIC.glob("*.js"):
        text = file.read_text(encoding="utf-8")
        for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert way not in text, f"{file.name} uses {way}"


def test_templates_are_constant(context):
    with gr.Blocks():
        panel = shell.panel(context, "rank", [])
    assert panel.html_template == '<div class="wb wb-rank"></div>' and "{" not in panel.html_template


@pytest.mark.slow
def test_the_first_page_waits_for_no_torch(tmp_path):
    script = (
        "import sys; from workbench.ui import shell, serving; from workbench import settings; "
        "from workbench.store import Store; from workbench.ui.context import Context; "
        f"c = Context(settings.load({str(tmp_path)!r}), Store({str(tmp_path / 'w.db')!r})); shell.build(c); "
        "heavy = [m for m in ('torch', 'transformers', 'trl', 'peft', 'pandas', 'datasets', 'plotly') if m in sys.modules]; "
        "print(heavy); c.close()"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = done.stdout.strip().splitlines()[-1]
    assert "torch" not in heavy and "transformers" not in heavy and "trl" not in heavy and "peft" not in heavy


# who may come in


def test_31_others_may_only_come_in_by_a_login(tmp_path, monkeypatch):
    monkeypatch.delenv("SPACE_ID", raising=False)
    alone = Settings(tmp_path)
    access.check(alone, {})
    for open_ in (
        Settings(tmp_path, host="0.0.0.0"),
        Settings(tmp_path, host="192.168.1.7"),
        Settings(tmp_path, share=True),
    ):
        with pytest.raises(access.NoAccess, match="--auth-file FILE"):
            access.check(open_, {})
        access.check(open_, {"ann": "long enough"})


def test_31_the_command_refuses_and_says_how(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k not in ("WORKBENCH_AUTH", "SPACE_ID")}
    command = [sys.executable, "app.py", "--host", "0.0.0.0", "--port", "7879", "--workspace", str(tmp_path / "w")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 2 and "--auth-file FILE" in done.stderr and not (tmp_path / "w").exists()


def test_a_space_is_let_through(tmp_path, monkeypatch):
    monkeypatch.setenv("SPACE_ID", "somebody/workbench")
    access.check(Settings(tmp_path, host="0.0.0.0"), {})
    assert overview.notices(["runs/0001-sft is left out: why."])[1]["download"] == "export_all"
    monkeypatch.delenv("SPACE_ID")
    assert overview.notices([]) == []


def test_logins_come_from_a_file_or_the_environment(tmp_path, monkeypatch):
    file = tmp_path / "logins"
    file.write_text("# class of Monday\nann:correct horse\n\nbob:battery: staple\n", encoding="utf-8")
    assert access.login(file) == {"ann": "correct horse", "bob": "battery: staple"}
    monkeypatch.setenv("WORKBENCH_AUTH", "carl:long enough")
    assert access.login() == {"carl": "long enough"}
    monkeypatch.delenv("WORKBENCH_AUTH")
    assert access.login() == {}
    right = access.checker({"ann": "correct horse"})
    assert right("ann", "correct horse")
    assert not right("ann", "wrong") and not right("zoe", "") and not right("", "")


@pytest.mark.parametrize("line", ["ann", "ann:", ":secret password", "ann:short"])
def test_a_login_that_cannot_be_used_is_named_without_its_password(tmp_path, line):
    file = tmp_path / "logins"
    file.write_text(f"bob:good password\n{line}\n", encoding="utf-8")
    with pytest.raises(access.NoAccess, match="line 2") as caught:
        access.login(file)
    assert "secret" not in str(caught.value) and "short" not in str(caught.value)


def headers(host=None, origin=None):
    pairs = [(b"host", host), (b"origin", origin)]
    return [(name, value.encode()) for name, value in pairs if value is not None]


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "[::1]:7860", "LOCALHOST"])
def test_30_this_machine_is_let_in(host):
    assert access.refusal(headers(host), local=True) is None
    assert access.refusal(headers(host, f"http://{host}"), local=True) is None


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("evil.example:7860", None),
        ("127.0.0.1.evil.example", None),
        ("127.0.0.1:7860", "http://evil.example"),
        ("127.0.0.1:7860", "null"),
        ("127.0.0.1:7860", "http://127.0.0.1:3000"),
        ("127.0.0.1:7860", "http://127.0.0.1:7860.evil.example"),
        (None, None),
        ("[", None),
    ],
)
def test_30_a_foreign_host_or_origin_is_refused(host, origin):
    assert access.refusal(headers(host, origin), local=True)


def test_30_two_hosts_are_refused():
    assert access.refusal([*headers("127.0.0.1"), *headers("evil.example")], local=True)


def test_30_beyond_this_machine_the_origin_must_still_be_the_host():
    assert access.refusal(headers("lab.example", "http://lab.example"), local=False) is None
    assert access.refusal(headers("lab.example", "http://evil.example"), local=False)


# what the header says


def test_next_steps_follow_the_loop():
    sft, dpo = run(1, "sft"), run(2, "dpo")

    def sentence(*state):
        step = overview.next_step(*state)
        return f"{step['before']}[{step['link']}]{step['after']}", step["at"], step["opens"]

    assert sentence(counts(), [], None) == ("Next: [write your ideal answers]", "write", "demonstrate")
    assert sentence(counts(24), [], None) == ("Next: 6 more answers, then [train SFT] on them", "write", "train")
    assert sentence(counts(29), [], None)[0] == "Next: 1 more answer, then [train SFT] on them"
    assert sentence(counts(30), [], None) == ("Next: [train SFT] on the 30 answers", "align", "train")
    assert sentence(counts(24, 62), [], None) == ("Next: rank 38 more pairs, then [train DPO]", "rank", "train")
    assert sentence(counts(30, 500), [sft], None)[0] == "Next: [train DPO] on the 500 pairs"
    assert sentence(counts(30, 500), [dpo, sft], None)[0] == "Next: [compare] the base and run 2 blind"
    assert (
        sentence(counts(30, 500, 18), [dpo, sft], None)[0]
        == "18 blind votes so far; voting more in [Compare] narrows the interval"
    )
    busy = run(7, "dpo", "running")
    assert sentence(counts(30, 500), [sft], busy)[0] == "Next: see what changed in [Compare] when run 7 ends"


def test_exactly_one_step_is_next_and_counts_are_honest():
    rows = overview.steps(counts(24, 62), [], None)
    by_name = {each["label"]: each for each in rows}
    assert [each["label"] for each in rows if each["state"] == "next"] == ["Rank"]
    assert by_name["Demonstrate"]["state"] == "done" and by_name["Demonstrate"]["text"] == "24 answers"
    assert by_name["Rank"]["text"] == "62 of 100" and by_name["Align"]["text"] == "not started"
    assert by_name["Compare"]["text"] == "nothing yet"


def test_simulated_votes_are_named_in_the_header():
    assert overview.amount(counts(0, 500, simulated=500), "comparisons", "pair", 100) == "500 simulated"
    assert overview.amount(counts(0, 512, simulated=500), "comparisons", "pair", 100) == "12, 500 simulated"
    assert overview.amount(counts(0, 12), "comparisons", "pair", 100) == "12 of 100"


def test_the_chip_tells_how_far_a_job_is():
    chip = overview.chip(run(7, "dpo", "running", step=38, steps=60, eta_s=24.3))
    assert chip["text"] == "DPO 63 %, 24 s left" and chip["colour"] == "dpo" and chip["number"] == 7
    assert overview.chip(run(7, "dpo", "waiting"))["text"] == "DPO waiting"
    assert overview.chip(run(7, "sft", "starting"))["text"] == "SFT starting"


def test_the_header_names_a_running_method_as_train_does():
    job = run(7, "prm", "running", step=1, steps=4)
    by_name = {each["label"]: each for each in overview.steps(counts(30, 100), [], job)}
    assert by_name["Reward"]["text"] == "running"
    assert overview.chip(job)["text"].startswith("Process reward model 25 %")


def test_the_overview_is_plain_json(context):
    context.store.add_prompts(["How are you?"], "person")
    answer = overview.overview(context, {"rater": "you"})
    assert json.loads(json.dumps(answer)) == answer
    assert all(type(name) is str for name in answer["counts"]) and answer["counts"]["prompts"] == 1
    assert answer["job"] is None and answer["loading"] is False


def test_the_export_holds_everything(context):
    import base64
    import io
    import zipfile

    from workbench.ui.export import export_all

    (prompt,) = context.store.add_prompts(["How are you?"], "person")
    context.store.add_demonstration(prompt.id, "Fine, and you?", "you")
    folder = context.settings.workspace / "runs" / "0001-sft"
    (folder / "checkpoints" / "step-4").mkdir(parents=True)
    (folder / "checkpoints" / "step-4" / "optimizer.safetensors").write_bytes(b"x")
    (folder / "metrics.jsonl").write_text('{"step": 1}\n')
    download = export_all(context, {})
    archive = zipfile.ZipFile(io.BytesIO(base64.b64decode(download["data"])))
    names = set(archive.namelist())
    assert {
        "prompts.jsonl",
        "demonstrations.jsonl",
        "comparisons.jsonl",
        "steps.jsonl",
        "runs/0001-sft/metrics.jsonl",
    } == names
    assert b"Fine, and you?" in archive.read("demonstrations.jsonl")
