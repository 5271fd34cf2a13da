"""The page's functions as programs call them: by name, with `gradio_client`, from the real server."""

import base64
import json
import re
import urllib.request
from pathlib import Path

import pytest

from tests import reward_runs, tiny_model
from tests.browser.app import App
from tests.small_runs import until
from workbench import settings as app_settings
from workbench.jobs import control, prepare
from workbench.jobs.runs import find_run, list_runs
from workbench.learn.catalogue import parse
from workbench.processes import write_status
from workbench.records import Response
from workbench.store import Store
from workbench.ui import api
from workbench.ui.context import Refused
from workbench.ui.payload import WrongField, takes

ROOT = Path(__file__).parents[1]
FILL = {"int": 1, "str": "text", "int | str": 1}  # any other required field is a list


class Place:
    """A server over a workspace with answers, choices, a run to compare (1) and a reward model (2); and its client."""

    def __init__(self, folder: Path) -> None:
        from gradio_client import Client

        self.settings = app_settings.load(folder / "workspace", command_line=True)
        self.settings.workspace.mkdir()
        with Store(self.settings.database) as store:
            for prompt in store.add_prompts([f"What is {i} plus {i}?" for i in range(1, 41)], "person"):
                store.add_demonstration(prompt.id, f"It is {2 * prompt.id}.", "me")
                good, bad = store.add_responses([Response(0, prompt.id, text, "sandbox") for text in ("Yes.", "no!")])
                store.add_comparison(prompt.id, [good, bad], [[good.id], [bad.id]], [good.id, bad.id], "me")
            self.prompt_id = prompt.id
            run = prepare.prepare_run(self.settings, store, "sft", parse("sft", {}))
        tiny_model.adapter(app_settings.SANDBOX, run.folder / "adapter", seed=1)
        write_status(run.folder, state="done", seconds=7, step=40)
        reward_runs.weights(reward_runs.folder(self.settings.workspace, 2, "amber"), app_settings.SANDBOX)
        self.app = App(self.settings.workspace).start()
        self.client = Client(self.app.url, verbose=False)
        until(lambda: not self.call("overview")["loading"])

    def close(self) -> None:
        self.client.close()
        self.app.stop()
        for run in list_runs(self.settings.workspace):
            if run.active:
                control.stop(self.settings, run)

    def call(self, name: str, /, **arguments):
        return self.client.predict(**arguments, api_name=f"/{name}")

    def saved(self):
        return self.call("save_demonstration", prompt_id=self.prompt_id, text="It is so.")["saved"]

    def added(self) -> int:
        return self.call("add_prompts", text="What is 50 plus 1?")["first"]

    def pair(self):
        (pair,) = until(lambda: self.call("next_pairs", n=1)["pairs"])
        return {"prompt_id": pair["prompt_id"], "shown": pair["shown"]}

    def steps(self):
        item = self.call("next_steps")["item"]
        return {"prompt_id": item["prompt_id"], "steps": item["steps"], "labels": [1] * len(item["steps"])}

    def question(self, blind: bool = False) -> str:
        id = self.call("ask", prompt="What is 3 plus 3?", runs=[None, 1], blind=blind)["id"]
        until(lambda: self.call("answers", id=id)["state"] == "done")
        return id

    def voted(self) -> str:
        id = self.question(blind=True)
        self.call("vote_blind", id=id, choice="tie")
        return id

    def gone(self, kind: str, id: int) -> int:
        self.call(f"delete_{kind}", **{"run" if kind == "run" else "id": id})
        return id

    def stopped(self) -> int:
        number: int = self.call("start_run", **SFT, settings={"steps": 900})["run"]
        self.call("control_run", run=number, action="stop")
        until(lambda: not find_run(self.settings.workspace, number).active)
        return number


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    from gradio_client import Client

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Client, "_telemetry_thread", lambda self: None)
        opened = Place(tmp_path_factory.mktemp("api"))
        yield opened
        opened.close()


def sample(name: str) -> dict:
    return {"name": name, "data": base64.b64encode((ROOT / "sample_data" / name).read_bytes()).decode()}


SFT = {"method": "sft", "preset": "quick"}
BOTH = {"runs": [None, 1]}
# What each endpoint is called with; those that need nothing are left out.
CALLS = {
    "prompt": lambda p: {"id": p.prompt_id},
    "model_answer": lambda p: {"id": p.prompt_id, "again": True},
    "save_demonstration": lambda p: {"prompt_id": p.prompt_id, "text": "It is so.", "token": "made up anew"},
    "edit_demonstration": lambda p: {key: p.saved()[key] for key in ("id", "version")} | {"text": "It is not so."},
    "delete_demonstration": lambda p: {"id": p.saved()["id"]},
    "restore_demonstration": lambda p: {"id": p.gone("demonstration", p.saved()["id"])},
    "save_draft": lambda p: {"prompt_id": p.prompt_id, "text": "It"},
    "skip_prompt": lambda p: {"prompt_id": p.prompt_id},
    "add_prompts": lambda p: {"text": "What is 60 plus 1?\nWhat is 60 plus 2?"},
    "delete_prompt": lambda p: {"id": p.added()},
    "restore_prompt": lambda p: {"id": p.gone("prompt", p.added())},
    "import_file": lambda p: sample("comparisons_trl.jsonl"),
    "next_steps": lambda p: {"have": [p.prompt_id]},
    "label_steps": lambda p: p.steps() | {"seconds": 2.5},
    "skip_steps": lambda p: {"prompt_id": p.prompt_id},
    "undo_step_labels": lambda p: {"id": p.call("label_steps", **p.steps())["id"]},
    "next_pairs": lambda p: {"n": 2, "page": "a page of mine"},
    "vote": lambda p: p.pair() | {"choice": "a", "seconds": 3},
    "beat_both": lambda p: p.pair() | {"text": "Mine is better."},
    "skip_pair": lambda p: p.pair(),
    "undo_vote": lambda p: {"id": p.call("vote", **p.pair(), choice="b")["id"]},
    "change_vote": lambda p: p.call("vote", **p.pair(), choice="b") | {"choice": "tie"},
    "plan_run": lambda p: SFT | {"settings": {"steps": 3}},
    "first_batch": lambda p: SFT,
    "start_run": lambda p: SFT | {"settings": {"steps": 1}},
    "control_run": lambda p: {"run": p.call("start_run", **SFT, settings={"steps": 900})["run"], "action": "stop"},
    "run_status": lambda p: {"run": 1},
    "run_log": lambda p: {"run": 1},
    "run_command": lambda p: {"run": 1},
    "label_run": lambda p: {"run": 1, "name": "the first", "starred": True},
    "delete_run": lambda p: {"run": p.stopped()},
    "restore_run": lambda p: {"run": p.gone("run", p.stopped())},
    "compare_runs": lambda p: {"runs": [1, 2]},
    "reward_checks": lambda p: {"run": 2},
    "score": lambda p: {"run": 2, "prompt": "What is 3 plus 3?", "answer": "It is 6."},
    "score_spoiled": lambda p: {"run": 2, "prompt": "What is 3 plus 3?", "answer": "It is 6.", "way": "pad"},
    "ask": lambda p: BOTH | {"prompt": "What is 3 plus 3?", "strength": 0.5},
    "answers": lambda p: {"id": p.question()},
    "cancel_answers": lambda p: {"id": p.question()},
    "vote_blind": lambda p: {"id": p.question(blind=True), "choice": 1},
    "undo_blind_vote": lambda p: {"id": p.voted()},
    "answer_rewards": lambda p: {"id": p.question(), "run": 2},
    "win_rates": lambda p: BOTH,
    "measure": lambda p: BOTH,
    "measurements": lambda p: BOTH,
    "stop_measuring": lambda p: BOTH,
}


def listed(place: Place) -> dict:
    """Every endpoint of the API docs: its name and its parameters."""
    endpoints = place.client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    return {name.removeprefix("/"): about["parameters"] for name, about in endpoints.items()}


@pytest.mark.slow
def test_every_endpoint_is_listed_with_its_types_and_answers(place):
    endpoints = listed(place)
    assert len(endpoints) > 50 and set(CALLS) <= set(endpoints)
    for name, parameters in endpoints.items():
        required = [each["parameter_name"] for each in parameters if not each["parameter_has_default"]]
        assert name in CALLS or not required, f"say in CALLS what /{name} is called with: {required}"
        try:
            answer = place.call(name, **CALLS.get(name, lambda p: {})(place))
        except ValueError as error:
            raise AssertionError(f"/{name} refused: {error}") from error
        assert isinstance(answer, dict), name
    log = place.app.log.read_text(encoding="utf-8")
    assert "Traceback" not in log, log


@pytest.mark.slow
def test_a_wrong_type_is_refused_by_the_fields_name(place):
    from gradio_client.exceptions import AppError

    count = 0
    for name, parameters in listed(place).items():
        kinds = {each["parameter_name"]: each["python_type"]["type"] for each in parameters}
        required = {each["parameter_name"] for each in parameters if not each["parameter_has_default"]}
        good = {field: FILL.get(kinds[field], []) for field in required}
        for field, kind in kinds.items():
            assert kind not in ("Any", "Dict[Any, Any]"), (name, field)
            with pytest.raises(AppError, match=rf" as {field}, but .* needed") as caught:
                place.call(name, **good | {field: "text" if "list" in kind else [[1]]})
            assert "eload" not in str(caught.value), "a program has no page to reload"
            count += 1
    assert count > 90


@pytest.mark.slow
def test_the_programs_of_the_docs_vote_and_train(place):
    setup, vote, train = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text("utf-8"), re.DOTALL)
    place.pair()  # the model has written one
    with Store(place.settings.database) as store:
        votes = len(store.comparisons("you"))
        names: dict = {}
        assert setup.count("http://127.0.0.1:7860") == 1
        for code in (setup.replace("http://127.0.0.1:7860", place.app.url), vote, train):
            exec(code, names)
        assert len(store.comparisons("you")) == votes + 1 and store.comparisons("you")[-1].source == "person"
    names["client"].close()
    run = find_run(place.settings.workspace, names["run"])
    assert (run.state, run.method, run.config.preset) == ("done", "sft", "quick")


@pytest.mark.slow
def test_the_first_page_does_not_carry_the_endpoints(place):
    page = urllib.request.urlopen(place.app.url, timeout=60).read().decode("utf-8")
    assert "start_run" not in page and "wb_start" in page
    config = json.loads(re.search(r"window\.gradio_config = (.*?);?\s*</script>", page, re.DOTALL)[1])
    assert [each[0] for each in config["pages"]] == [""], "gradio draws a navigation bar for more pages than one"
    assert list(config["page"]) == [""] and config["dependencies"] == []


# the adapter, without a server


@takes("judge", seconds=float | None, id=int, have=list[int])
def function(context, payload):
    """What it does."""
    return {"payload": payload}


class Nobody:
    """A context of which only the rater is asked."""

    def rater(self, request) -> str:
        return "you"


def test_fields_that_may_be_missing_come_last_and_are_left_out():
    import inspect

    import gradio as gr

    handler = api.by_arguments(Nobody(), function)
    signature = inspect.signature(handler)
    assert list(signature.parameters) == ["request", "id", "have", "seconds"]
    assert signature.parameters["request"].annotation is gr.Request
    assert signature.parameters["seconds"].annotation == float | None
    assert signature.parameters["seconds"].default is None and signature.parameters["id"].default is inspect._empty
    assert (handler.__name__, handler.__doc__) == ("judge", "What it does.")
    assert handler(None, 7, [1], None) == {"payload": {"id": 7, "have": [1], "rater": "you"}}
    with pytest.raises(gr.Error, match="sent nothing as id, but a whole number is needed"):
        handler(None, None, [1], None)


def test_a_program_is_not_told_to_reload_the_page_but_the_page_is():
    def wrong(context, payload):
        raise WrongField("This call sent nothing as id.")

    def refused(context, payload):
        raise Refused("There is no run 7.")

    def missing(context, payload):
        raise KeyError("There is no prompt 7")

    def both(function):
        return [api.answer(Nobody(), function, {}, None, remedy)["error"] for remedy in ("", api.RELOAD)]

    assert both(wrong) == ["This call sent nothing as id.", f"This call sent nothing as id. {api.RELOAD}"]
    assert both(refused) == ["There is no run 7."] * 2
    assert both(missing)[0] == "There is no prompt 7. It may have been removed."


def test_an_answer_that_tells_of_an_error_is_one():
    import gradio as gr

    def fails(context, payload):
        return {"pairs": [], "error": "The model could not be loaded."}

    with pytest.raises(gr.Error, match="The model could not be loaded"):
        api.by_arguments(Nobody(), takes()(fails))(None)


def test_two_functions_cannot_have_one_name():
    import gradio as gr

    with gr.Blocks() as page:
        pass
    twin = takes("judge")(lambda context, payload: {})
    with pytest.raises(ValueError, match="Two functions of the page are called /judge"):
        api.expose(page, Nobody(), [function, function, twin])
