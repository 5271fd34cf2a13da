"""The methods' settings: limits, errors that name the flag, and defaults by the size of the model."""

import json

import pytest

from workbench.learn import catalogue
from workbench.learn.catalogue import SettingError, check, fields_of, parse, resolve
from workbench.learn.catalogue.sft import SFTArgs


def test_defaults_are_those_that_move_a_lora_on_the_sandbox():
    sft, _ = resolve("sft", parse("sft", {}), 1_570_000)
    dpo, _ = resolve("dpo", parse("dpo", {}), 1_570_000)
    assert (sft.steps, sft.batch_size, sft.learning_rate, sft.lora_rank, sft.lora_alpha) == (40, 16, 3e-3, 16, 32)
    assert (dpo.steps, dpo.batch_size, dpo.learning_rate, dpo.beta) == (40, 16, 4e-3, 0.5)


def test_a_larger_model_gets_a_smaller_rate_and_the_reason_is_told():
    rates = [catalogue.learning_rate("dpo", n).value for n in (1_500_000, 100_000_000, 1_000_000_000, 7_000_000_000)]
    assert rates == sorted(rates, reverse=True) and len(set(rates)) == 4
    assert "1.0B" in catalogue.learning_rate("dpo", 1_000_000_000).reason


def test_what_was_set_stays_and_gives_no_reason():
    args, reasons = resolve("sft", parse("sft", {"learning_rate": "5e-4"}), 1_570_000)
    assert args.learning_rate == 5e-4
    assert "learning_rate" not in reasons and "evaluate_every" in reasons


@pytest.mark.parametrize("preset, steps", [("quick", 20), ("normal", 40), ("thorough", 120)])
def test_presets_of_sft(preset, steps):
    assert parse("sft", {}, preset).steps == steps


def test_a_value_given_wins_over_the_preset():
    assert parse("dpo", {"steps": 7}, "thorough").steps == 7


@pytest.mark.parametrize(
    "values, message",
    [
        ({"learning_rate": "fast"}, "learning_rate=fast: not a number"),
        ({"steps": "1.5"}, "steps=1.5: must be a whole number"),
        ({"steps": "0"}, "steps=0: must be at least 1"),
        ({"steps": "nan"}, "steps=nan: not a finite number"),
        ({"lora_dropout": 2}, "lora_dropout=2.0: must be at most 0.9"),
        ({"schedule": "zigzag"}, "schedule=zigzag: must be one of linear, cosine, constant"),
        ({"lr": "1"}, "lr=1: SFT has no such setting"),
        ({"batch_size": 16, "micro_batch": 5}, "micro_batch=5: must divide batch_size"),
    ],
)
def test_errors_name_the_setting(values, message):
    with pytest.raises(SettingError) as error:
        parse("sft", values)
    assert str(error.value).startswith(message)
    assert error.value.field == list(values)[-1] and message.endswith(error.value.why[: len(message.split(": ")[1])])


def test_robust_needs_the_share_of_wrong_votes():
    with pytest.raises(ValueError, match="label_smoothing"):
        parse("dpo", {"loss": "robust"})
    assert parse("dpo", {"loss": "robust", "label_smoothing": "0.1"}).label_smoothing == 0.1


def test_an_unknown_method_or_preset_is_named():
    with pytest.raises(ValueError, match="sft, dpo"):
        parse("ppp", {})
    with pytest.raises(ValueError, match="--preset"):
        parse("sft", {}, "endless")


def test_empty_fields_of_a_form_mean_the_default():
    assert parse("sft", {"learning_rate": " ", "steps": None}) == SFTArgs()


@pytest.mark.parametrize("name", list(catalogue.METHODS))
def test_every_setting_is_explained_and_every_default_allowed(name):
    rows = fields_of(name, 1_570_000)
    json.dumps(rows, allow_nan=False)
    assert all(len(row["doc"]) > 10 for row in rows)
    check(catalogue.METHODS[name].args())
    for preset in catalogue.PRESETS:
        check(parse(name, {}, preset))


def test_the_form_of_dpo_has_its_beta_and_its_choices():
    by_name = {row["name"]: row for row in fields_of("dpo")}
    assert by_name["beta"]["optional"] and by_name["beta"]["automatic"]["value"] == 0.1
    assert by_name["loss"]["type"] == "choice" and "ipo" in by_name["loss"]["choices"]
    assert by_name["learning_rate"]["optional"]
    assert by_name["steps"]["presets"] == {"quick": 20, "normal": 40, "thorough": 100}


def test_beta_is_the_papers_unless_the_model_is_tiny():
    assert resolve("dpo", parse("dpo", {}), 7_000_000_000)[0].beta == 0.1
    assert resolve("dpo", parse("dpo", {"beta": 0.2}), 1_570_000)[0].beta == 0.2


@pytest.mark.parametrize("name", ["ppo", "rloo", "grpo"])
def test_of_a_large_model_fewer_answers_run_at_once_and_they_fill_the_batch(name):
    assert resolve(name, parse(name, {}), 7_000_000_000)[0].micro_batch == 16
    assert resolve(name, parse(name, {"batch_size": 24}), 7_000_000_000)[0].micro_batch == 8
    assert resolve(name, parse(name, {}), 1_570_000)[0].micro_batch == 64


def test_label_smoothing_is_refused_where_nothing_reads_it():
    with pytest.raises(ValueError, match="label_smoothing"):
        parse("dpo", {"label_smoothing": 0.1})


@pytest.mark.parametrize(
    ("name", "values", "processes", "message"),
    [
        ("ppo", {}, 0, "at least 1"),
        ("dpo", {}, 2, "only ppo"),
        ("ppo", {"batch_size": 9}, 2, "evenly"),
        ("ppo", {"batch_size": 8, "minibatches": 4}, 4, "evenly"),
    ],
)
def test_batches_must_be_shareable(name, values, processes, message):
    with pytest.raises(ValueError, match=message):
        catalogue.check_processes(name, parse(name, values), processes)


def test_batches_that_can_be_shared_pass():
    catalogue.check_processes("dpo", parse("dpo", {}), 1)
    catalogue.check_processes("ppo", parse("ppo", {"batch_size": 8, "minibatches": 2}), 4)
