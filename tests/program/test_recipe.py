"""YAML to checked choices: bases, scales, and one clear message for every mistake."""

import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from platform.errors import UserError
from platform.program.overlays import CLUSTER_KEYS
from platform.program.recipe import (
    Choices,
    ClusterSettings,
    entry_program,
    load,
    program,
    resolved_yaml,
    scale_file,
    trunk_text,
    with_arms,
)

LoadText = Callable[..., Choices]

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
SCALES = sorted(path.stem for path in (ROOT / "recipes" / "scales").glob("*.yaml"))

CHILD = """
question: Does it?
base: base
"""


def knobs(choices: Choices, field: str) -> dict:
    pick = choices.arms[field] if field in choices.arms else choices.picks[field]
    return {pick.name: dict(pick.knobs)}


# Every recipe that there is


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_at_every_scale_becomes_a_program(path: Path, scale: str) -> None:
    choices = load(path, scale)
    text = program(choices)
    compile(text, "train_gpt.py", "exec")
    assert text.startswith(f'"""{path.stem} at scale {scale}') and choices.question in text.replace("\n", " ")
    assert f'name="{path.stem}"' in text and f'scale="{scale}"' in text and "from jobs" not in text
    assert len(text.splitlines()) > 500 and max(map(len, entry_program(choices).splitlines())) <= 120
    assert len(trunk_text(choices)) < len(text)


def test_there_are_recipes_and_scales() -> None:
    assert len(RECIPES) >= 2 and {"eight_h100", "laptop", "one_gpu"} <= set(SCALES)


# Bases and scales


def test_a_recipe_on_its_own(checkout: Path) -> None:
    choices = load(checkout / "recipes" / "base.yaml", None, checkout)
    assert (choices.name, choices.scale, choices.question) == ("base", "eight_h100", "Does it work?")
    assert (choices.source, choices.published) == ("PR #1", None) and choices.base is choices.against is None
    assert choices.sections["budget"] == {"batch_tokens": 1000} and choices.sections["shape"] == {}
    assert choices.setting("shape", "num_layers") == 9 and choices.setting("budget", "batch_tokens") == 1000
    assert knobs(choices, "feed_forward") == {"relu": {"hidden_multiple": 3.0}}
    assert choices.picks["feed_forward"].value("names") == ("a", "b")
    assert [pick.name for pick in choices.picks["embedding"]] == ["hash", "smear"]
    assert choices.picks["optimizer"].knobs["schedule"].knobs == {"steps": 50, "final": 0.1}
    machine = choices.machine
    assert (machine.processes, machine.gpus, machine.cpus, machine.corpus) == (8, 8, 16, None)
    assert (machine.data_path, machine.tokenizer_path) == (Path("data/x"), Path("data/y.model"))


def test_where_the_nodes_are_is_said_by_the_scale_and_then_by_the_recipe_and_is_in_no_program(
    load_text: LoadText, checkout: Path
) -> None:
    scale = checkout / "recipes" / "scales" / "eight_h100.yaml"
    plain = load_text(CHILD, None)
    scale.write_text(
        scale.read_text() + 'cluster: {usd_per_hour: 24, head: 10.0.0.4, workers: [10.0.0.5], cuda: "13.0"}\n'
    )
    own = load_text(CHILD + "scales: {eight_h100: {cluster: {usd_per_hour: 19.5, nodes: 3}}}\n", None)
    assert plain.cluster == ClusterSettings() and scale_file(own, checkout) == scale
    assert own.cluster == ClusterSettings(
        usd_per_hour=19.5, nodes=3, head="10.0.0.4", workers=("10.0.0.5",), cuda="13.0"
    )
    assert program(own) == program(plain) and trunk_text(own) == trunk_text(plain)
    assert resolved_yaml(own) == resolved_yaml(plain), "it lies beside the results, and others read it"
    assert "usd_per_hour: 19.5\n" in resolved_yaml(own, with_cluster=True)


def test_every_field_of_a_cluster_can_be_said() -> None:
    assert list(CLUSTER_KEYS) == [field.name for field in fields(ClusterSettings)]
    assert load(ROOT / "recipes" / "leaky_cosine.yaml").cluster.usd_per_hour == 24


def test_a_child_over_its_base(load_text: LoadText) -> None:
    choices = load_text(
        CHILD
        + """
shape: {num_layers: 11}
budget: {train_seconds: 30}
feed_forward: {relu: {limit: 7}}
optimizer: {sgd: {rate: 1, schedule: {cosine: {final: 0}}}}
embedding: [smear]
averaging: none
arms: {a: {sgd: {epochs: 3}}, b: nothing}
""",
        None,
    )
    assert choices.base == "base" and choices.source is None, "a description is of one recipe"
    assert choices.sections == {"shape": {"num_layers": 11}, "budget": {"batch_tokens": 1000, "train_seconds": 30.0}}
    assert knobs(choices, "feed_forward") == {"relu": {"hidden_multiple": 3.0, "limit": 7}}
    assert choices.picks["optimizer"].knobs["rate"] == 1.0
    assert choices.picks["optimizer"].knobs["schedule"].knobs == {"steps": 50, "final": 0.0}
    assert [pick.name for pick in choices.picks["embedding"]] == ["smear"]
    assert choices.picks["averaging"] is None and choices.picks["evaluation"].name == "aligned"
    assert list(choices.arms) == ["a", "b"] and knobs(choices, "a") == {"sgd": {"epochs": 3}}


def test_another_technique_replaces_the_base_s_with_its_knobs(load_text: LoadText) -> None:
    text = CHILD + "feed_forward: {leaky: {slope: 0.5}}\noptimizer: {sgd: {schedule: linear}}\n"
    choices = load_text(text, None)
    assert knobs(choices, "feed_forward") == {"leaky": {"slope": 0.5}}
    assert knobs(choices, "optimizer")["sgd"]["schedule"].name == "linear"
    assert knobs(choices, "optimizer")["sgd"]["schedule"].knobs == {}


def test_three_generations(load_text: LoadText, checkout: Path) -> None:
    load_text(CHILD + "shape: {num_layers: 5, width: 2}\n")
    (checkout / "recipes" / "third.yaml").write_text("question: Q\nbase: mine\nshape: {num_layers: 6}\n")
    choices = load(checkout / "recipes" / "third.yaml", "laptop", checkout)
    assert choices.sections["shape"] == {"num_layers": 6, "width": 2.0} and choices.base == choices.against == "mine"


def test_what_a_recipe_is_compared_with_changes_nothing_in_it(load_text: LoadText) -> None:
    made = load_text(CHILD)
    other = load_text(CHILD + "against: child\n")
    assert (made.base, made.against) == ("base", "base") and (other.base, other.against) == ("base", "child")
    assert (other.sections, other.picks, other.arms) == (made.sections, made.picks, made.arms)
    assert trunk_text(other) == trunk_text(made)
    assert entry_program(other) == entry_program(made).replace("against base.", "against child.")
    assert "\nbase: base\nagainst: child\n" in resolved_yaml(other)


@pytest.mark.parametrize("nothing", ["none", "null", "~", ""])
def test_a_recipe_against_nothing_and_one_made_from_nothing(load_text: LoadText, checkout: Path, nothing: str) -> None:
    alone = load_text(CHILD + f"against: {nothing}\n")
    assert (alone.base, alone.against) == ("base", None) and alone.picks["feed_forward"].name == "relu"
    assert entry_program(alone).startswith('"""mine at scale laptop.\n')
    assert "\nbase: base\nagainst: null\n" in resolved_yaml(alone), "a missing line would mean the base"
    whole = load_text((checkout / "recipes" / "base.yaml").read_text() + f"base: {nothing}\nagainst: child\n")
    assert (whole.base, whole.against) == (None, "child") and whole.sections["shape"] == {}


def test_two_recipes_may_be_compared_with_each_other(load_text: LoadText, checkout: Path) -> None:
    (checkout / "recipes" / "other.yaml").write_text("question: Q\nbase: base\nagainst: mine\n")
    assert load_text(CHILD + "against: other\n").against == "other"


@pytest.mark.parametrize("nothing", ["none", "null", "~", ""])
def test_ways_to_write_nothing(load_text: LoadText, nothing: str) -> None:
    choices = load_text(CHILD + f"averaging: {nothing}\nembedding: {nothing}\n")
    assert choices.picks["averaging"] is None and choices.picks["embedding"] == ()


def test_ways_to_write_a_choice(load_text: LoadText) -> None:
    for relu in ("relu", "{relu: }", "{relu: {}}", "\n  relu:"):
        choices = load_text(f"{CHILD}feed_forward: {relu}\nembedding: smear\n")
        assert knobs(choices, "feed_forward") == {"relu": {"hidden_multiple": 3.0}}
        assert [pick.name for pick in choices.picks["embedding"]] == ["smear"]


def test_a_scale_multiplies_what_the_recipe_says(checkout: Path) -> None:
    choices = load(checkout / "recipes" / "child.yaml", "laptop", checkout)
    assert choices.sections["budget"] == {"batch_tokens": 10, "train_seconds": 60.0}
    assert choices.picks["optimizer"].knobs["schedule"].knobs == {"steps": 5, "final": 0.1}, "a nested technique too"
    assert knobs(choices, "sgd") == {"sgd": {"epochs": 3}} and knobs(choices, "plain") == {"nothing": {}}
    assert (choices.machine.processes, choices.machine.corpus) == (2, "embedded")


@pytest.mark.parametrize(
    ("value", "times", "product"),
    [("20", "0.1", 2), ("24", "0.1", 2), ("30", "0.1", 3), ("7", "2", 14), ("15", "0.25", 4)],
)
def test_a_whole_number_stays_one_and_at_least_one(load_text: LoadText, value: str, times: str, product: int) -> None:
    scale = f"scales: {{laptop: {{shape: {{num_layers: {{times: {times}}}}}}}}}\n"
    choices = load_text(f"{CHILD}shape: {{num_layers: {value}}}\n{scale}")
    assert choices.setting("shape", "num_layers") == product and type(choices.setting("shape", "num_layers")) is int


def test_a_default_is_multiplied_where_the_recipe_says_nothing(load_text: LoadText) -> None:
    shape, ema = "{num_layers: {times: 2}, width: {times: 2}}", "{ema: {decay: {times: 0.5}}}"
    choices = load_text(CHILD + f"scales: {{laptop: {{shape: {shape}, techniques: {ema}}}}}\n")
    assert choices.sections["shape"] == {"num_layers": 18, "width": 3.0}
    assert knobs(choices, "averaging") == {"ema": {"decay": 0.4985}}


def test_a_scale_of_the_recipe_comes_last_and_may_choose(load_text: LoadText) -> None:
    text = (
        CHILD
        + """
budget: {batch_tokens: 500}
scales:
  laptop:
    budget: {train_seconds: 5, batch_tokens: {times: 3}}
    feed_forward: {leaky: {slope: 1}}
    arms: {plain: nothing, more: {sgd: {epochs: 40}}}
    machine: {cpus: 4}
    techniques: {aligned: {length: 64}}
  eight_h100: {budget: {train_seconds: 7}}
"""
    )
    choices = load_text(text)
    assert choices.sections["budget"] == {"batch_tokens": 15, "train_seconds": 5.0}
    assert knobs(choices, "feed_forward") == {"leaky": {"slope": 1.0}}
    assert knobs(choices, "more") == {"sgd": {"epochs": 40}}, "chosen after the scale's own techniques were set"
    assert knobs(choices, "evaluation") == {"aligned": {"length": 64}} and choices.machine.cpus == 4
    assert load_text(text, None).sections["budget"] == {"batch_tokens": 500, "train_seconds": 7.0}


def test_what_a_base_says_of_a_scale_holds_for_its_children(load_text: LoadText, checkout: Path) -> None:
    load_text(CHILD + "scales: {laptop: {shape: {num_layers: 2, width: 3}}}\n")
    (checkout / "recipes" / "third.yaml").write_text(
        "question: Q\nbase: mine\nshape: {num_layers: 6}\nscales: {laptop: {shape: {width: 4}}}\n"
    )
    choices = load(checkout / "recipes" / "third.yaml", "laptop", checkout)
    assert choices.sections["shape"] == {"num_layers": 2, "width": 4.0}


def test_a_scale_ignores_techniques_that_are_not_chosen(load_text: LoadText) -> None:
    choices = load_text(CHILD + "scales: {laptop: {techniques: {leaky: {slope: 0.25}, linear: {steps: 3}}}}\n")
    assert knobs(choices, "feed_forward") == {"relu": {"hidden_multiple": 3.0}}


def test_techniques_reach_into_lists_arms_and_knobs(load_text: LoadText) -> None:
    text = (
        CHILD
        + """
optimizer: {sgd: {phases: [linear, cosine], then: linear}}
arms: {a: sgd, b: {sgd: {epochs: 2}}}
scales: {laptop: {techniques: {linear: {steps: 3}, hash: {buckets: 7}, adaptation.sgd: {rate: {times: 10}}}}}
"""
    )
    choices = load_text(text)
    optimizer = choices.picks["optimizer"].knobs
    assert [dict(pick.knobs) for pick in optimizer["phases"]] == [{"steps": 3}, {"steps": 10}]
    assert optimizer["then"].knobs == {"steps": 3} and "rate" not in optimizer
    assert choices.picks["embedding"][0].knobs == {"buckets": 7}
    assert [pick.knobs["rate"] for pick in choices.arms.values()] == [0.02, 0.02]


def test_a_scale_may_set_a_nested_technique(load_text: LoadText) -> None:
    scale = "scales: {laptop: {techniques: {optimizer.sgd: {schedule: {%s: {steps: {times: 3}}}}}}}\n"
    merged = load_text(CHILD + scale % "cosine").picks["optimizer"].knobs["schedule"]
    assert merged.knobs == {"steps": 15, "final": 0.1}, "50, a tenth of it, three times that"
    other = load_text(CHILD + scale % "linear").picks["optimizer"].knobs["schedule"]
    assert (other.name, dict(other.knobs)) == ("linear", {"steps": 30}), "three times its default"


def test_recipes_and_scales_in_a_folder_of_one_s_own(checkout: Path, tmp_path: Path) -> None:
    own = tmp_path / "own folder"
    (own / "scales").mkdir(parents=True)
    (own / "mine.yaml").write_text(CHILD + "scales: {tiny: {shape: {num_layers: 3}}}\n")
    (own / "scales" / "tiny.yaml").write_text("machine: {processes: 1, gpus: 0, cpus: 1, corpus: embedded}\n")
    assert load(own / "mine.yaml", "tiny", checkout).setting("shape", "num_layers") == 3
    assert load(own / "mine.yaml", "laptop", checkout).machine.processes == 2


# Numbers and words as YAML 1.2 has them


def test_values_are_read_as_people_expect(load_text: LoadText) -> None:
    text = (
        CHILD
        + """
published: 2026-03-20 or "no"
shape: {num_layers: 012, tied: False, width: 1e1}
budget: {batch_tokens: 786_432, train_seconds: 1e-4}
feed_forward:
  relu:
    hidden_multiple: .5
    layers: [1, 2]
    names: [no, on, "1", 1:30, none]
    rates: {yes: 1, "off": -2.5E+3}
    limit: none
arms: {no: nothing, y: nothing}
"""
    )
    choices = load_text(text, None)
    assert choices.published == '2026-03-20 or "no"' and list(choices.arms) == ["no", "y"]
    assert choices.sections["shape"] == {"num_layers": 12, "tied": False, "width": 10.0}
    assert choices.sections["budget"] == {"batch_tokens": 786432, "train_seconds": 0.0001}
    assert knobs(choices, "feed_forward")["relu"] == {
        "hidden_multiple": 0.5,
        "layers": (1, 2),
        "names": ("no", "on", "1", "1:30", "none"),
        "rates": {"yes": 1.0, "off": -2500.0},
        "limit": None,
    }


# Arms


def test_arms_can_be_chosen_and_keep_the_recipe_s_order(checkout: Path) -> None:
    choices = load(checkout / "recipes" / "child.yaml", "laptop", checkout)
    assert list(with_arms(choices, ("sgd", "plain")).arms) == ["plain", "sgd"]
    fewer = with_arms(choices, ("sgd",))
    assert (
        list(fewer.arms) == ["sgd"] and trunk_text(fewer) == trunk_text(choices) and program(fewer) != program(choices)
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("plan",), "recipes/child.yaml: arms: no arm 'plan'; possible: plain, sgd; did you mean 'plain'?"),
        (("sgd", "plain", "sgd"), "recipes/child.yaml: arms: sgd is asked for twice; once is enough"),
        ((), "recipes/child.yaml: arms: ask for at least one of plain, sgd"),
    ],
)
def test_arms_that_cannot_be_chosen(checkout: Path, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError) as error:
        with_arms(load(checkout / "recipes" / "child.yaml", "laptop", checkout), names)
    assert message in str(error.value)


# The resolved recipe


def test_the_resolved_recipe_has_every_knob(checkout: Path) -> None:
    import yaml

    tree = yaml.safe_load(resolved_yaml(load(checkout / "recipes" / "child.yaml", "laptop", checkout)))
    assert tree["name"] == "child" and tree["scale"] == "laptop" and tree["base"] == tree["against"] == "base"
    assert tree["shape"] == {"num_layers": 11, "width": 1.5, "tied": True}
    assert tree["feed_forward"]["relu"] == {
        "hidden_multiple": 3.0, "layers": [], "names": ["a", "b"], "rates": None, "betas": [0.9, 0.95], "limit": None
    }  # fmt: skip
    assert tree["optimizer"]["sgd"]["schedule"] == {"cosine": {"steps": 5, "final": 0.1}}
    assert tree["embedding"] == [{"hash": {"buckets": 1000}}, "smear"]
    assert tree["arms"] == {"plain": "nothing", "sgd": {"sgd": {"epochs": 3, "rate": 0.002}}}
    assert tree["machine"] == {"processes": 2, "gpus": 0, "cpus": 2, "corpus": "embedded"}


# The command


def command(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "platform.recipe", *arguments]
    return subprocess.run(line, cwd=cwd, capture_output=True, text=True, timeout=900)


def test_the_command_prints_what_it_is_asked_for() -> None:
    path = "recipes/leaky_cosine.yaml"
    choices = load(ROOT / path, "laptop")
    assert command(path, "--scale", "laptop").stdout == entry_program(choices)
    assert command(path, "--scale", "laptop", "--program").stdout == program(choices)
    assert command(path, "--scale", "laptop", "--resolved").stdout == resolved_yaml(choices, with_cluster=True)
    one = command(path, "--scale", "laptop", "--arm", "no_ttt").stdout
    assert one == entry_program(with_arms(choices, ("no_ttt",)))


def test_the_difference_of_two_programs_is_the_ablation() -> None:
    path, other = "recipes/leaky_cosine.yaml", "recipes/naive_baseline.yaml"
    lines = command(path, "--diff", other, "--scale", "laptop").stdout.splitlines()
    assert lines[:2] == ["--- naive_baseline", "+++ leaky_cosine"]
    assert any(line.startswith("+class LeakyReluSquared") for line in lines)
    assert any(line.startswith("-class ReluSquared") for line in lines)
    changed = [line for line in lines if line[0] in "+-" and "class " in line]
    assert not any("class Transformer" in line for line in changed), "what both have does not move"
    same = command(path, "--diff", path)
    assert (same.returncode, same.stdout) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["recipes/leaky_cosin.yaml"],
            "error: recipes/leaky_cosin.yaml: no such file; did you mean 'leaky_cosine.yaml'?",
        ),
        (["recipes/leaky_cosine.yaml", "--scale", "labtop"], "no scale 'labtop'; possible: "),
        (["recipes/leaky_cosine.yaml", "--arm", "nott"], "arms: no arm 'nott'; possible: no_ttt, "),
        (["recipes/leaky_cosine.yaml", "--arm", "no_ttt", "--arm", "no_ttt"], "arms: no_ttt is asked for twice"),
        (["recipes/leaky_cosine.yaml", "--program", "--resolved"], "exclude each other"),
        (["recipes/leaky_cosine.yaml", "--sacle", "x"], "No such option"),
        ([], "Missing argument 'RECIPE'"),
    ],
)
def test_a_wrong_command(arguments: list[str], message: str) -> None:
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr and "Traceback" not in done.stderr


def test_a_reader_that_has_seen_enough() -> None:
    line = f"{shlex.quote(sys.executable)} -m platform.recipe recipes/leaky_cosine.yaml --program | head -1"
    done = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.stdout.startswith('"""leaky_cosine') and done.stderr == ""


def test_planning_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pathlib import Path; from platform.program.recipe import load, program, trunk_text\n"
        "choices = load(Path('recipes/leaky_cosine.yaml'), 'laptop'); program(choices), trunk_text(choices)\n"
        "print({'torch', 'ray', 'mlflow', 'pandas', 'numpy', 'rich', 'click', 'scipy', 'difflib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.stdout == "set()\n", done.stderr
