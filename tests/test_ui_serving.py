"""The real server, attacked: by a person with a login, by one without, and by the machine's own settings."""

import http.client
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote, urlencode

import pytest

from tests.browser.app import App, free_port
from tests.small_runs import until
from workbench.jobs.runs import find_run, list_runs
from workbench.processes import write_status
from workbench.records import Response
from workbench.store import Store

ROOT = Path(__file__).parents[1]
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
LOGINS = {"ann": "correct horse", "bob": "battery staple", "carl": "stapled battery"}
PROXIES = {"HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """One app with logins and a folder of rewards, behind proxies that lead nowhere, over a workspace with prompts."""
    folder = tmp_path_factory.mktemp("serving")
    for name in ("workspace", "rewards", "temporary", "zips"):
        (folder / name).mkdir()
    (folder / "logins").write_text("".join(f"{name}:{word}\n" for name, word in LOGINS.items()), encoding="utf-8")
    with Store(folder / "workspace" / "workbench.db") as store:
        prompts = store.add_prompts([f"What is {i} plus {i}?" for i in range(30)], "person")
        store.add_responses([Response(0, prompts[0].id, text, "sandbox") for text in ("Yes.", "No.")])
    app = App(folder / "workspace", "--auth-file", str(folder / "logins"), "--rewards", str(folder / "rewards"))
    app.environment |= PROXIES | {"GRADIO_TEMP_DIR": str(folder / "temporary"), "TMPDIR": str(folder / "zips")}
    app.start()
    try:
        yield SimpleNamespace(app=app, folder=folder, bob=Client(app.port, "bob"), ann=Client(app.port, "ann"))
    finally:
        app.stop()


class Client:
    """A visitor: requests with the cookies of a login, from an address of this machine."""

    def __init__(self, port: int, name: str | None = None, address: str = "127.0.0.1") -> None:
        self.port, self.address, self.cookie = port, address, ""
        self.parts: dict[str, int] = {}
        if name is not None:
            status, _, self.cookie = self.login(name, LOGINS[name])
            assert status == 200
            config = json.loads(self.ask("GET", "/config")[1])
            self.parts = {part["props"].get("elem_id"): part["id"] for part in config["components"]}

    def ask(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None):
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60, source_address=(self.address, 0))
        try:
            line.request(method, path, body or None, {"Cookie": self.cookie, **(headers or {})})
            answer = line.getresponse()
            cookies = [each.partition(";")[0] for each in answer.headers.get_all("Set-Cookie") or []]
            return answer.status, answer.read().decode("utf-8", "replace"), "; ".join(cookies)
        finally:
            line.close()

    def download(self, path: str) -> tuple[int, bytes]:
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            line.request("GET", path, headers={"Cookie": self.cookie})
            answer = line.getresponse()
            return answer.status, answer.read()
        finally:
            line.close()

    def login(self, name: str, password: str, headers: dict[str, str] | None = None):
        form = urlencode({"username": name, "password": password}).encode()
        return self.ask("POST", "/login", form, FORM | (headers or {}))

    def call(self, tab: str, function: str, payload: object, component: object = None):
        part = self.parts[f"wb-{tab}"] if component is None else component
        sent = {"data": payload, "component_id": part, "fn_name": f"wb_{function}", "session_hash": "test"}
        status, text, _ = self.ask("POST", "/gradio_api/component_server/", json.dumps(sent).encode(), JSON)
        return status, json.loads(text)


def upload(name: str, content: str) -> tuple[bytes, dict[str, str]]:
    """A request body that brings a file, and its headers."""
    head = f'--X\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    return f"{head}{content}\r\n--X--\r\n".encode(), {"Content-Type": "multipart/form-data; boundary=X"}


def ppo(reward: str, token: str) -> dict:
    settings = {"reward": reward, "steps": "1", "batch_size": "4", "max_new_tokens": "4"}
    return {"method": "ppo", "preset": "quick", "settings": settings, "start_from": None, "token": token}


# code from the page


def test_nobody_uploads_a_file_and_nothing_is_left_behind(place):
    for path in ("upload", "component_server/", "process_recording", "stream/x", "vibe-edit"):
        status, text, _ = place.bob.ask("POST", f"/gradio_api/{path}", *upload("evil.py", "import os"))
        assert status in (404, 415) and "mport files on Demonstrate" in text, path
    assert not [file for file in (place.folder / "temporary").rglob("*") if file.is_file()]


def test_code_from_outside_the_owners_folder_does_not_run(place):
    evil, ran = place.folder / "evil.py", place.folder / "ran"
    evil.write_text(f"open({str(ran)!r}, 'w')\ndef reward(prompts, responses): return [0.0] * len(responses)\n")
    for name in (str(evil), "../evil.py"):
        status, answer = place.bob.call("train", "start", ppo(f"file:{name}", f"token of {name}"[:60]))
        assert status == 200 and "the page accepts only those in" in answer["error"]
        plan = place.bob.call("train", "plan", ppo(f"file:{name}", "12345678"))[1]
        assert not plan["ready"] and "the page accepts only those in" in plan["errors"]["reward"]
    assert not ran.exists() and list_runs(place.folder / "workspace") == []


def test_code_from_the_owners_folder_runs_in_the_job_alone(place):
    workspace, ran = place.folder / "workspace", place.folder / "pids"
    code = f"import os\nopen({str(ran)!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
    (place.folder / "rewards" / "mine.py").write_text(code + "def reward(p, r): return [float(len(x)) for x in r]\n")
    status, answer = place.bob.call("train", "start", ppo("file:mine.py", "a click of mine"))
    assert (status, answer) == (200, {"run": 1})
    try:
        until(lambda: ran.exists() and ran.read_text().endswith("\n"), seconds=120)
        assert {int(pid) for pid in ran.read_text().split()} == {find_run(workspace, 1).status["pid"]}
    finally:
        place.bob.call("train", "act", {"run": 1, "action": "stop"})


# routes


def test_what_the_page_uses_is_open(place):
    plotly = place.bob.call("train", "form", {})[1]["plotly"]
    for path in ("/", "/config", "/theme.css", "/gradio_api/theme.css", f"/{plotly}"):
        assert place.bob.ask("GET", path)[0] == 200, path
    assert place.bob.ask("GET", "/gradio_api/file=" + quote("/etc/hostname"))[0] == 403


@pytest.mark.parametrize(
    "path", ["/pwa_icon/x", "/pwa_icon/192", "/pwa_icon", "/manifest.json", "/monitoring/summary", "/nothing", "//"]
)
def test_what_the_page_does_not_use_is_not_there(place, path):
    assert place.bob.ask("GET", path)[0] == 404


@pytest.mark.parametrize("number", [999, -1, 2**70])
def test_a_call_to_no_endpoint_is_the_callers_fault(place, number):
    body = json.dumps({"data": [], "fn_index": number, "session_hash": "test"}).encode()
    status, text, _ = place.bob.ask("POST", "/gradio_api/queue/join", body, JSON)
    assert status == 404 and "detail" in json.loads(text)


def test_the_way_of_programs_has_the_limits_of_the_pages(place):
    large = JSON | {"Content-Length": "30000001"}
    assert place.bob.ask("POST", "/gradio_api/queue/join", headers=large)[0] == 413
    assert place.bob.ask("POST", "/gradio_api/queue/join", *upload("evil.py", "import os"))[0] == 415
    for path in ("run/vote", "api/vote", "call/vote", "call/v2/vote"):
        assert place.bob.ask("POST", f"/gradio_api/{path}", b'{"data": []}', JSON)[0] == 404, path


@pytest.mark.parametrize("part", [999, -1, 0, 2**70, "nine", [1], {"a": 1}])
def test_a_call_to_no_part_of_the_page_is_the_callers_fault(place, part):
    status, answer = place.bob.call("train", "form", {}, component=part)
    assert status in (400, 404) and "detail" in answer
    assert place.bob.call("train", "nothing_like_it", {})[0] == 404


def test_a_request_beyond_all_measure_is_not_read(place):
    status, text, _ = place.bob.ask(
        "POST", "/gradio_api/component_server/", headers=JSON | {"Content-Length": "99999999"}
    )
    assert status == 413 and "python -m workbench import FILE" in text
    assert place.bob.ask("POST", "/login", b"x" * 200_000, FORM)[0] == 413
    assert place.bob.ask("PUT", "/config")[0] == 404 and place.bob.ask("DELETE", "/")[0] == 404


# downloads


def test_a_run_is_downloaded_by_its_number_and_only_with_a_login(place):
    folder = place.folder / "workspace" / "runs" / "0077-sft"
    for name, text in (("adapter/adapter_model.safetensors", "weights"), ("data/train.jsonl", "{}"), ("log.txt", "a line"), ("README.md", "card")):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    config = {"number": 77, "method": "sft", "model": "sandbox", "args": {}, "started_by": "ann"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "data" / "link").symlink_to("/etc/hostname")
    write_status(folder, state="done")
    try:
        assert place.bob.ask("GET", "/run-files/77/log")[:2] == (200, "a line")
        for client, names in (
            (place.ann, {"adapter/adapter_model.safetensors", "README.md"}),
            (place.bob, {"adapter/adapter_model.safetensors"}),
        ):
            status, content = client.download("/run-files/77/adapter")
            archive = zipfile.ZipFile(io.BytesIO(content))
            assert status == 200 and set(archive.namelist()) == {f"0077-sft-adapter/{name}" for name in names}
            assert archive.read("0077-sft-adapter/adapter/adapter_model.safetensors") == b"weights"
        data = zipfile.ZipFile(io.BytesIO(place.bob.download("/run-files/77/data")[1]))
        assert data.namelist() == ["0077-sft-data/data/train.jsonl"]
        stranger = Client(place.app.port)
        for part in ("adapter", "data", "log", "nothing"):
            assert stranger.ask("GET", f"/run-files/77/{part}")[0] == 401
        stranger.cookie = "; ".join(f"{each.partition('=')[0]}=made up" for each in place.bob.cookie.split("; "))
        assert stranger.ask("GET", "/run-files/77/log")[0] == 401
        for path in (
            "77/config",
            "77/..%2Fconfig.json",
            "77/log/x",
            "78/log",
            "-1/log",
            "seven/log",
            "..%2F..%2Fworkbench.db/log",
            "77",
        ):
            assert place.bob.ask("GET", f"/run-files/{path}")[0] == 404, path
        assert place.bob.ask("POST", "/run-files/77/log")[0] == 404
        about = [client.call("train", "about", {"run": 77})[1] for client in (place.ann, place.bob)]
        assert about[0]["folder"] == str(folder) and about[1]["folder"] is None
        assert not [*(place.folder / "zips").glob("*.zip")], "a zip is deleted once it is sent"
    finally:
        shutil.rmtree(folder)


# passwords


def test_wrong_passwords_wait_and_lock_out_nobody_else(place):
    thief, carl_elsewhere = Client(place.app.port), Client(place.app.port, address="127.0.0.2")
    answers = [thief.login("carl", f"wrong password {i}") for i in range(40)]
    assert {status for status, *_ in answers} == {400}
    details = [json.loads(text)["detail"] for _, text, _ in answers]
    assert details[:5] == ["Incorrect credentials."] * 5
    assert all(text.startswith("Too many wrong passwords. Try again in ") for text in details[5:])
    # nor does the right one help there now, which would tell that it is right, nor a header that names another address
    assert thief.login("carl", LOGINS["carl"])[0] == 400
    assert thief.login("carl", LOGINS["carl"], {"X-Forwarded-For": "10.0.0.7"})[0] == 400
    # the same name at another address, and another name at this one
    assert carl_elsewhere.login("carl", LOGINS["carl"])[0] == 200
    assert thief.login("ann", LOGINS["ann"])[0] == 200


# two people, one token


def test_a_vote_with_somebody_elses_token_is_refused_where_they_see_it(place):
    with Store(place.folder / "workspace" / "workbench.db") as store:
        prompt = store.prompts()[0].id
        shown = [response.id for response in store.responses(prompt)[:2]]
    vote = {"prompt_id": prompt, "shown": shown, "choice": "a", "token": "of one click", "page": "a page"}
    assert "id" in place.ann.call("rank", "vote", vote)[1]
    answer = place.bob.call("rank", "vote", vote)[1]
    assert "id" not in answer and "not saved" in answer["error"]
    assert "id" in place.bob.call("rank", "vote", vote | {"token": "of another click"})[1]


# programs


@pytest.fixture
def program(place, monkeypatch):
    """program(name) -> a client of the endpoints with that login, or without any."""
    from gradio_client import Client as Program

    monkeypatch.setattr(Program, "_telemetry_thread", lambda self: None)
    opened = []

    def open_(name=None):
        opened.append(Program(place.app.url, verbose=False, auth=name and (name, LOGINS[name])))
        return opened[-1]

    yield open_
    for each in opened:
        each.close()


def test_a_program_comes_in_by_the_login_and_votes_under_its_name(place, program):
    from gradio_client.exceptions import AuthenticationError

    with pytest.raises(AuthenticationError):
        program()
    body = b'{"data": [], "fn_index": 0, "session_hash": "test"}'
    assert Client(place.app.port).ask("POST", "/gradio_api/queue/join", body, JSON)[0] == 401
    with Store(place.folder / "workspace" / "workbench.db") as store:
        prompt = store.prompts()[0].id
        shown = [response.id for response in store.responses(prompt)[:2]]
        ann = program("ann")
        id = ann.predict(prompt, shown, "b", api_name="/vote")["id"]
        assert {row.rater for row in store.comparisons() if row.id == id} == {"ann"}
    with pytest.raises(TypeError, match="rater"):
        ann.predict(prompt, shown, "b", rater="bob", api_name="/vote")


def test_a_program_reaches_no_code_that_the_page_does_not(place, program):
    from gradio_client.exceptions import AppError

    evil = place.folder / "evil.py"
    evil.write_text("def reward(prompts, responses): return [0.0] * len(responses)\n")
    count = len(list_runs(place.folder / "workspace"))
    with pytest.raises(AppError, match="the page accepts only those in"):
        program("bob").predict("ppo", "quick", {"reward": f"file:{evil}", "steps": "1"}, api_name="/start_run")
    assert len(list_runs(place.folder / "workspace")) == count


# starting


@pytest.mark.parametrize("command", [["app.py"], ["-m", "workbench", "serve"]], ids=["app.py", "serve"])
@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--host", "0.0.0.0"], "--auth-file FILE"),
        (["--auth-file", "nowhere"], "--auth-file nowhere cannot be read"),
        (["--rewards", "nowhere"], "--rewards: there is no folder"),
        (["--port", "many"], "'many' is not a number"),
    ],
)
def test_both_commands_refuse_in_the_same_way(tmp_path, command, argv, message):
    unset = ("WORKBENCH_AUTH", "SPACE_ID")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    argv = [*argv, *([] if "--port" in argv else ["--port", str(free_port())]), "--workspace", str(tmp_path / "w")]
    done = subprocess.run(
        [sys.executable, *command, *argv], cwd=ROOT, capture_output=True, text=True, env=environment, timeout=60
    )
    assert done.returncode == 2 and message in done.stderr and not (tmp_path / "w").exists()
