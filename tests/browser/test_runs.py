"""The table of runs in a real browser: names, stars, delete and undo, finding, sorting, the base, files to take along."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from datetime import UTC, datetime, timedelta

import pytest

from workbench.jobs.runs import find_run, list_runs

METHODS = {"sft": "answers", "dpo": "pairs", "reward": "comparisons"}


def past(workspace, number, method="sft", gold=None, **config):
    """A run folder as a job would have left it, so many hours ago as its number."""
    folder = workspace / "runs" / f"{number:04d}-{method}"
    (folder / "adapter").mkdir(parents=True)
    (folder / "data").mkdir()
    created = (datetime(2026, 1, 1, 12, 30, tzinfo=UTC) + timedelta(hours=number)).isoformat()
    data = {"n": 40, "train": 34, "heldout": 6, "unit": METHODS[method], "hash": "0"}
    command = f"python -m workbench train {method} --workspace {workspace} --set=seed={number}"
    config = {"number": number, "method": method, "model": "sandbox", "args": {}, "data": data, "preset": "normal",
              "created": created, "command": command} | config  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "status.json").write_text(json.dumps({"state": "done", "seconds": 5 + number, "step": 40, "steps": 40}))
    (folder / "adapter" / "adapter_model.safetensors").write_text("weights")
    (folder / "data" / "train.jsonl").write_text("{}\n")
    (folder / "log.txt").write_text("a line of the log\n")
    result = {}
    if gold is not None:
        result = {"gold": gold, "gold_low": gold - 0.02, "gold_high": gold + 0.02, "gold_n": 300}
        result |= {"base_gold": 0.59, "base_gold_low": 0.56, "base_gold_high": 0.62, "base_gold_n": 300}
        low, high = (0.68, 0.78) if gold > 0.65 else (0.46, 0.58)
        result |= {"win_rate": (low + high) / 2, "win_rate_low": low, "win_rate_high": high, "win_rate_n": 300}
    (folder / "result.json").write_text(json.dumps(result))


@pytest.fixture
def few(app):
    """An app over three runs, the third of which starts from the first."""
    shutil.rmtree(app.workspace / "runs", ignore_errors=True)
    past(app.workspace, 1, gold=0.91)
    past(app.workspace, 2, gold=0.60)
    past(app.workspace, 3, "dpo", gold=0.88, parent=1)
    return app


@pytest.fixture
def many(app):
    """An app over a hundred runs."""
    shutil.rmtree(app.workspace / "runs", ignore_errors=True)
    for number in range(1, 101):
        past(app.workspace, number, ("sft", "dpo")[number % 2], gold=0.5 + number / 250)
    for number, name in ((7, "polite one"), (60, "Polite and brief")):
        label = {"name": name, "starred": number == 7}
        folder = next((app.workspace / "runs").glob(f"{number:04d}-*"))
        (folder / "label.json").write_text(json.dumps(label))
    return app


def train(open_page, app, **more):
    page = open_page(f"{app.url}#train", **more)
    page.wait_for_selector(".wb-runs-table tbody tr", state="attached")
    page.wait_for_selector(".wb-facts dd")
    return page


def numbers(page):
    return [int(text) for text in page.locator(".wb-runs-table .wb-run-number").all_inner_texts()]


def test_a_run_is_named_starred_and_found_again_everywhere(few, open_page, no_faults):
    page = train(open_page, few)
    page.get_by_role("button", name="Show run 1").click()
    page.wait_for_selector(".wb-headline >> text=✓ Better than the base: .91 against .59, wins 73 % (68 to 78).")
    page.get_by_role("button", name="Name and note").click()
    page.keyboard.type("Polite v2")
    page.get_by_label("Note", exact=True).fill("Two lines.\nOf a note.")
    no_faults(page)
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_selector(".wb-runs-table .wb-run-label >> text=Polite v2")
    page.wait_for_selector(".wb-run-title >> text=Run 1, Polite v2: SFT on 40 answers")
    assert page.locator(".wb-run-note").inner_text() == "Two lines.\nOf a note."
    assert page.locator(".wb-run-form").is_hidden()
    page.get_by_role("button", name="☆ Star").click()
    page.wait_for_selector("[aria-label='Star run 1'][aria-pressed=true]")
    page.wait_for_selector(".wb-from option:has-text('★ SFT, run 1 (Polite v2)')", state="attached")
    page.get_by_role("button", name="Compare run 1").click()
    page.wait_for_selector(".wb-picked >> text=★ SFT, run 1 (Polite v2)")
    label = find_run(few.workspace, 1).label
    assert (label.name, label.note, label.starred) == ("Polite v2", "Two lines.\nOf a note.", True)


def test_a_deleted_run_comes_back_by_undo_and_one_that_is_needed_says_so(few, open_page):
    page = train(open_page, few)
    page.get_by_role("button", name="Show run 1").click()
    page.wait_for_selector(".wb-run-title >> text=Run 1:")
    page.get_by_role("button", name="Delete", exact=True).click()
    page.wait_for_selector("text=Run 1 is not deleted, because run 3 starts from it. Delete that run first.")
    page.get_by_role("button", name="Show run 2").click()
    page.wait_for_selector(".wb-run-title >> text=Run 2:")
    assert page.get_by_text("Run 1 is not deleted").count() == 0
    page.get_by_role("button", name="Delete", exact=True).click()
    page.wait_for_selector(".wb-undo >> text=SFT, run 2 is deleted.")
    page.wait_for_selector("[aria-label='Show run 2']", state="detached")
    assert numbers(page) == [3, 1] and [run.number for run in list_runs(few.workspace)] == [3, 1]
    page.get_by_role("button", name="Undo").click()
    page.wait_for_selector(".wb-run-title >> text=Run 2:")
    page.wait_for_selector("[aria-label='Show run 2']")
    assert page.locator(".wb-undo").is_hidden() and len(list_runs(few.workspace)) == 3
    page.get_by_role("button", name="Delete", exact=True).click()
    page.wait_for_selector("text=Deleted runs (1)")
    page.reload()  # the undo of yesterday
    page.get_by_text("Deleted runs (1)").click()
    page.get_by_role("button", name="Bring back run 2").click()
    page.wait_for_selector("[aria-label='Show run 2']")
    assert len(list_runs(few.workspace)) == 3


def test_a_hundred_runs_are_found_sorted_and_starred_and_the_base_stays_on_top(many, open_page, no_faults):
    page = train(open_page, many)
    assert numbers(page) == list(range(100, 75, -1))  # the newest 25
    first = page.locator(".wb-runs-table tbody tr").first.inner_text()
    assert first.split()[0] == "Base" and "0.59 (0.56 to 0.62)" in first
    assert re.fullmatch(r"(\d+ )?Jan( \d+)?,? (2026, )?\d\d:30", page.locator("time[datetime]").last.inner_text())
    no_faults(page)
    find = page.get_by_label("Find a run")
    find.fill("polite")
    assert numbers(page) == [60, 7] and page.get_by_text("2 of 100 runs").is_visible()
    find.fill("polite brief")
    assert numbers(page) == [60]
    assert page.locator(".wb-runs-table tbody tr").first.inner_text().split()[0] == "Base"
    find.fill("")
    page.get_by_label("Method of the runs shown").select_option("dpo")
    assert numbers(page)[:3] == [99, 97, 95] and page.get_by_text("50 of 100 runs").is_visible()
    page.get_by_label("Method of the runs shown").select_option("")
    page.get_by_role("button", name="Result").click()
    assert numbers(page)[:3] == [100, 99, 98]
    page.get_by_role("button", name="Result").click()
    assert numbers(page)[:3] == [1, 2, 3]
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("Result")
    page.get_by_label("Starred first").check()
    assert numbers(page)[:3] == [7, 1, 2]
    page.get_by_role("button", name="Show all 100").click()
    assert len(numbers(page)) == 100
    page.reload()  # order and stars are remembered, the text is not
    page.wait_for_selector(".wb-runs-table tbody tr")
    assert numbers(page)[:3] == [7, 1, 2]


def test_a_model_is_found_by_its_name_in_compare(many, open_page):
    page = open_page(f"{many.url}#compare")
    page.wait_for_selector(".wb-picker-head")
    page.locator(".wb-picker-head").click()
    page.get_by_label("Find a model").fill("brief")
    visible = page.locator(".wb-picker-list label:visible")
    assert [text.split("\n")[0] for text in visible.all_inner_texts()] == [
        "Base",
        "SFT, run 100",
        "SFT, run 60 (Polite and brief)",
    ]
    page.get_by_text("SFT, run 60 (Polite and brief)").click()
    assert page.locator(".wb-picked").all_inner_texts()[-1] == "SFT, run 60 (Polite and brief)"


def test_path_command_and_files_are_there_to_take_along(few, open_page, no_faults, tmp_path):
    page = train(open_page, few)
    page.get_by_role("button", name="Show run 1").click()
    page.wait_for_selector(".wb-run-title >> text=Run 1:")
    page.get_by_role("button", name="Files and command").click()
    folder = find_run(few.workspace, 1).folder
    page.wait_for_selector(f".wb-about code:has-text('{folder}')")
    assert page.locator(".wb-about code").nth(1).inner_text().endswith("--set=seed=1")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy: Folder on disk").click()
    page.wait_for_selector("text=Copied")
    assert page.evaluate("navigator.clipboard.readText()") == str(folder)
    no_faults(page)
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Adapter (zip)").click()
    waiting.value.save_as(tmp_path / "adapter.zip")
    assert waiting.value.suggested_filename == "0001-sft-adapter.zip"
    assert "0001-sft-adapter/adapter/adapter_model.safetensors" in zipfile.ZipFile(tmp_path / "adapter.zip").namelist()
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Log").click()
    waiting.value.save_as(tmp_path / "log.txt")
    assert (tmp_path / "log.txt").read_text() == "a line of the log\n"


@pytest.mark.parametrize("dark", [False, True])
def test_a_hundred_runs_fit_a_phone(many, open_page, no_faults, dark):
    page = train(open_page, many, width=390, height=844, dark=dark)
    page.locator(".wb-runs > summary").click()
    page.wait_for_selector(".wb-runs-table tbody tr:visible")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    no_faults(page)
