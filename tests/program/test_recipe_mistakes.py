"""Every mistake in a recipe gets one clear message: file, line, key, value found, what is possible, nearest name."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from platform.errors import UserError
from platform.program.recipe import Choices, entry_program, load

LoadText = Callable[..., Choices]

CHILD = """
question: Does it?
base: base
"""


def refused(load_text: LoadText, text: str, scale: str | None = "laptop") -> str:
    """The message about a recipe with this text."""
    with pytest.raises(UserError) as error:
        load_text(text, scale)
    message = str(error.value)
    assert "\n" not in message and len(message) < 500
    return message


ELSEWHERE = "base: base\nquestion: Q\n"
MISTAKES = {
    "unknown technique": (
        "feed_forward: leeky\n",
        "recipes/mine.yaml:3: feed_forward.leeky: no such technique of feed_forward; possible: leaky, "
        "relu; did you mean 'leaky'?",
    ),
    "unknown technique with knobs": (
        "feed_forward:\n  leeky: {slope: 1}\n",
        "recipes/mine.yaml:4: feed_forward.leeky: no such technique of feed_forward; possible: leaky, relu; did",
    ),
    "misspelt knob": (
        "feed_forward:\n  relu:\n    hidden_multiple: 2\n    limmit: 3\n",
        "recipes/mine.yaml:6: feed_forward.relu.limmit: no such knob; possible: hidden_multiple, layers, "
        "names, rates, betas, limit; did you mean 'limit'?",
    ),
    "knob of a technique without knobs": (
        "embedding: [{smear: {width: 2}}]\n",
        "recipes/mine.yaml:3: embedding[0].smear.width: no such knob; there are none",
    ),
    "wrong type": (
        "feed_forward: {relu: {hidden_multiple: wide}}\n",
        "recipes/mine.yaml:3: feed_forward.relu.hidden_multiple: found the text 'wide', it takes a "
        "number, above 0 (hidden width over model width)",
    ),
    "a number with a fraction": (
        "shape:\n  num_layers: 3.5\n",
        "mine.yaml:4: shape.num_layers: found the number 3.5, it takes a whole number",
    ),
    "a number below its bounds": (
        "shape:\n  num_layers: 1\n",
        "mine.yaml:4: shape.num_layers: found the number 1, it takes a whole number, 2 or more",
    ),
    "a number below the bounds of its kind": (
        "feed_forward: {relu: {hidden_multiple: 0.0}}\n",
        "mine.yaml:3: feed_forward.relu.hidden_multiple: found the number 0.0, it takes a number, above 0",
    ),
    "true for a number": (
        "shape: {num_layers: true}\n",
        "mine.yaml:3: shape.num_layers: found true, it takes a whole number",
    ),
    "yes for true": (
        "shape: {tied: yes}\n",
        "mine.yaml:3: shape.tied: found the text 'yes', it takes true or false",
    ),
    "a list for a number": (
        "shape: {num_layers: [1, 2]}\n",
        "shape.num_layers: found a list of 2, it takes a whole number",
    ),
    "nothing for a number": (
        "shape: {num_layers: }\n",
        "shape.num_layers: found nothing, it takes a whole number",
    ),
    "no finite number": (
        "shape: {width: .inf}\n",
        "shape.width: found the number inf, it takes a number",
    ),
    "digits without end": (
        f"shape: {{num_layers: {'9' * 5000}}}\n",
        "mine.yaml:3: shape.num_layers: a number of 5000 digits",
    ),
    "digits that a float would take": (
        f"shape: {{num_layers: {'9' * 4000}}}\n",
        "mine.yaml:3: shape.num_layers: a number of 4000 digits; 30 are the most",
    ),
    "a fraction without end": (
        f"shape: {{rope_base: 1.{'9' * 4000}}}\n",
        "mine.yaml:3: shape.rope_base: a number of 4002 digits; 30 are the most",
    ),
    "an arm with a name without end": (
        f"arms: {{{'a' * 240}: no_adaptation}}\n",
        ": an arm's name of 240 characters; it has at most 80",
    ),
    "one of several": (
        "feed_forward: {leaky: {slope: 1, sign: plos}}\n",
        "feed_forward.leaky.sign: found the text 'plos', it takes one of plus, minus, none; did you mean 'plus'?",
    ),
    "one of several numbers": (
        "feed_forward: {leaky: {slope: 1, power: 3}}\n",
        "leaky.power: found the number 3, it takes one of 1, 2",
    ),
    "an item of the wrong type": (
        "feed_forward: {relu: {layers: [1, two]}}\n",
        "feed_forward.relu.layers: found the text 'two', it takes a whole number",
    ),
    "too few items": (
        "feed_forward: {relu: {betas: [0.9]}}\n",
        "relu.betas: found a list of 1, it takes a list of 2: a number, a number",
    ),
    "a missing required knob": (
        "feed_forward: leaky\n",
        "recipes/mine.yaml: feed_forward.leaky.slope: has no value and no default; it takes a number",
    ),
    "a missing nested technique": (
        "optimizer: {sgd: {phases: [cosine], schedule: none}}\n",
        "mine.yaml:3: optimizer.sgd.schedule.none: no such technique of schedule; possible: cosine, linear",
    ),
    "an unknown nested technique": (
        "optimizer: {sgd: {schedule: {cosin: {steps: 3}}}}\n",
        "optimizer.sgd.schedule.cosin: no such technique of schedule; possible: cosine, linear; did you mean 'cosine'?",
    ),
    "a wrong knob of a nested technique": (
        "optimizer: {sgd: {then: {linear: {stops: 3}}}}\n",
        "optimizer.sgd.then.linear.stops: no such knob; possible: steps; did you mean 'steps'?",
    ),
    "a required family switched off": (
        "feed_forward: none\n",
        "mine.yaml:3: feed_forward: every recipe needs one; possible: leaky, relu",
    ),
    "two techniques for one place": (
        "feed_forward: {relu: , leaky: {slope: 1}}\n",
        "feed_forward: found a mapping (relu, leaky), here belongs one technique",
    ),
    "a list for one place": (
        "feed_forward: [relu]\n",
        "feed_forward: found a list of 1, here belongs one technique",
    ),
    "a number for a technique": (
        "feed_forward: 3\n",
        "feed_forward: found the number 3, here belongs one technique, as its name or",
    ),
    "knobs that are no mapping": (
        "feed_forward: {relu: 3}\n",
        "feed_forward.relu: found the number 3, here belong knobs: hidden_multiple, layers",
    ),
    "the same technique twice": (
        "embedding: [smear, smear]\n",
        "mine.yaml:3: embedding: the same technique twice",
    ),
    "an unknown entry": (
        "feed_foward: relu\n",
        "mine.yaml:3: feed_foward: no such entry; possible: question, source, published, base, against, shape, "
        "budget, feed_forward, optimizer, embedding, averaging, evaluation, arms, scales; did you mean "
        "'feed_forward'?",
    ),
    "a section that is no mapping": (
        "shape: 9\n",
        "shape: found the number 9, here belong knobs: num_layers, width, tied",
    ),
    "no arms": (
        "arms: {}\n",
        "mine.yaml:3: arms: a recipe has at least one arm",
    ),
    "arms that are a list": (
        "arms: [nothing]\n",
        "arms: found a list of 1, here belong names of arms",
    ),
    "an arm's name": (
        "arms: {No TTT: nothing}\n",
        "arms.No TTT: an arm's name is small letters, digits and underscores",
    ),
    "an arm that is a path": (
        "arms: {../up: nothing}\n",
        "arms.../up: an arm's name is small letters",
    ),
    "an arm without adaptation": (
        "arms: {plain: }\n",
        "arms.plain: found nothing, here belongs one technique",
    ),
    "an unknown scale": (
        "scales: {laptob: {shape: {num_layers: 3}}}\n",
        "mine.yaml:3: scales.laptob: no such scale; possible: eight_h100, laptop; did you mean 'laptop'?",
    ),
    "an unknown entry of a scale": (
        "scales: {laptop: {shap: {num_layers: 1}}}\n",
        "scales.laptop.shap: no such entry; possible: shape, budget",
    ),
    "a wrong value of another scale": (
        "scales: {eight_h100: {shape: {num_layers: x}}}\n",
        "mine.yaml:3: scales.eight_h100.shape.num_layers: found the text 'x'",
    ),
    "times in a recipe": (
        "shape: {num_layers: {times: 2}}\n",
        "mine.yaml:3: shape.num_layers: {times: x} is for scales; a recipe says the number itself",
    ),
    "times of no number": (
        "scales: {laptop: {shape: {tied: {times: 2}}}}\n",
        "mine.yaml:3: scales.laptop.shape.tied: times multiplies a number, and the recipe has True here",
    ),
    "times of nothing": (
        "scales: {laptop: {techniques: {relu: {limit: {times: 2}}}}}\n",
        "techniques.relu.limit: times multiplies a number, and the recipe has nothing here",
    ),
    "times a word": (
        "scales: {laptop: {shape: {width: {times: ten}}}}\n",
        "shape.width: times takes a number above 0, found the text 'ten'",
    ),
    "times nothing at all": (
        "scales: {laptop: {shape: {width: {times: 0}}}}\n",
        "shape.width: times takes a number above 0, found the number 0",
    ),
    "an unknown technique of a scale": (
        "scales: {laptop: {techniques: {reluu: {limit: 2}}}}\n",
        "scales.laptop.techniques.reluu: no such technique; possible: aligned, cosine, ema, hash, leaky, "
        "linear, nothing, relu, sgd, smear; did you mean 'relu'?",
    ),
    "an unknown knob of a scale": (
        "scales: {laptop: {techniques: {relu: {limits: 2}}}}\n",
        "scales.laptop.techniques.relu.limits: no such knob; possible: hidden",
    ),
    "a technique of two families": (
        "scales: {laptop: {techniques: {sgd: {rate: 2}}}}\n",
        "techniques.sgd: a technique of several families; write optimizer.sgd or adaptation.sgd",
    ),
    "an unknown entry of machine": (
        "scales: {laptop: {machine: {gpu: 2}}}\n",
        "scales.laptop.machine.gpu: no such entry of machine; possible: processes, gpus",
    ),
    "no processes": (
        "scales: {laptop: {machine: {processes: 0}}}\n",
        "scales.laptop.machine.processes: found the number 0, it takes a whole number, 1 or more",
    ),
    "an unknown entry of cluster": (
        "scales: {laptop: {cluster: {usd_per_hours: 24}}}\n",
        "mine.yaml:3: scales.laptop.cluster.usd_per_hours: no such entry of cluster; possible: usd_per_hour, nodes",
    ),
    "nodes that cost nothing": (
        "scales: {laptop: {cluster: {usd_per_hour: 0}}}\n",
        "mine.yaml:3: scales.laptop.cluster.usd_per_hour: found the number 0.0, it takes a number, above 0",
    ),
    "a price with its currency": (
        "scales: {laptop: {cluster: {usd_per_hour: 24 USD}}}\n",
        "cluster.usd_per_hour: found the text '24 USD', it takes a number, above 0",
    ),
    "no node": (
        "scales: {laptop: {cluster: {nodes: 0}}}\n",
        "cluster.nodes: found the number 0, it takes a whole number, 1 or more",
    ),
    "a folder that differs from node to node": (
        "scales: {laptop: {cluster: {folder: ~/fairway}}}\n",
        "cluster.folder: found the text '~/fairway', it takes an absolute path without a colon, such as /fairway",
    ),
    "a name that an option could hide in": (
        "scales: {laptop: {cluster: {partition: --wrap=id}}}\n",
        "cluster.partition: found the text '--wrap=id', it takes a name: letters",
    ),
    "a name of two lines": (
        'scales: {laptop: {cluster: {account: "a\\n#SBATCH"}}}\n',
        "cluster.account: found the text 'a\\n#SBATCH', it takes a name: letters",
    ),
    "a version that is a number": (
        "scales: {laptop: {cluster: {cuda: 12.8}}}\n",
        'cluster.cuda: found the number 12.8, it takes a version in quotes, such as "12.8"',
    ),
    "one worker that is no list": (
        "scales: {laptop: {cluster: {workers: 10.0.0.5}}}\n",
        "cluster.workers: found the text '10.0.0.5', it takes a list, each a name: letters",
    ),
    "a cluster of a recipe": (
        "cluster: {nodes: 2}\n",
        "mine.yaml:3: cluster: no such entry; possible: question",
    ),
    "another corpus": (
        "scales: {laptop: {machine: {corpus: embeded}}}\n",
        "machine.corpus: found the text 'embeded', it takes embedded; did you mean",
    ),
    "a corpus and paths": (
        "scales: {laptop: {machine: {data_path: x, tokenizer_path: y}}}\n",
        "mine.yaml:3: scales.laptop.machine: found processes: 2, gpus: 0, cpus: 2, corpus: embedded, data_path: x",
    ),
    "a number for a text": (
        "source: 518\n",
        "mine.yaml:3: source: found the number 518, it takes text; put it in quotes",
    ),
    "a character that cannot be printed": (
        'source: "\\x07"\n',
        "mine.yaml:3: source: there is a character in it that cannot be printed",
    ),
    "two values for one key": (
        "shape:\n  num_layers: 3\n  width: 1\n  num_layers: 4\n",
        "recipes/mine.yaml:6: shape.num_layers: given twice, first in line 4; keep one",
    ),
    "two values for one family": (
        "averaging: ema\naveraging: none\n",
        "recipes/mine.yaml:4: averaging: given twice, first in line 3; keep one",
    ),
    "a text that YAML cuts": (
        "question: What of PR #462's score is training?\n",
        'mine.yaml:3: question: the text ends before "#462\'s score is training?", for YAML takes that as a comment',
    ),
    "a product below its bounds": (
        "shape: {num_layers: 3}\nscales: {laptop: {shape: {num_layers: {times: 0.1}}}}\n",
        "mine.yaml:4: scales.laptop.shape.num_layers: 3 in the recipe times 0.1 is 1: found the number 1, it takes",
    ),
    "a tab": (
        "shape:\n\tnum_layers: 3\n",
        "recipes/mine.yaml:4: a tab in column 1; YAML takes spaces",
    ),
    "a tab behind a value": (
        "shape: {num_layers: 3}\t# nine\n",
        "recipes/mine.yaml:3: a tab in column 23",
    ),
    "no YAML": (
        "shape: {num_layers: 3\n",
        "recipes/mine.yaml:4: not YAML: ",
    ),
    "a stray colon": (
        "shape: num_layers: 3\n",
        "recipes/mine.yaml:3: not YAML: mapping values are not allowed",
    ),
    "an alias": (
        "shape: &a {num_layers: 3}\nbudget: *a\n",
        "recipes/mine.yaml:4: budget: an alias (*a); write the value out",
    ),
    "a tag": (
        "shape: !!python/object/apply:os.system [id]\n",
        "recipes/mine.yaml:3: shape: a tag (tag:yaml.org,2002:python/object/apply:os.system)",
    ),
    "a merge": (
        "shape: {<<: {num_layers: 3}}\n",
        "recipes/mine.yaml:3: shape.<<: no such knob",
    ),
    "a key that is a list": (
        "[a, b]: 3\n",
        "recipes/mine.yaml:3: a key must be a name",
    ),
    "a second document": (
        "---\nquestion: Q\n",
        "recipes/mine.yaml: a second document, after ---; a file has one",
    ),
    "deep nesting": (
        f"shape: {'[' * 5000}{']' * 5000}\n",
        "nested deeper than 20 levels",
    ),
    "deep nesting of mappings": (
        f"shape: {'{a: ' * 5000}{'}' * 5000}\n",
        "nested deeper than 20 levels",
    ),
    "a control character": (
        "shape: {num_layers: \x01}\n",
        "recipes/mine.yaml: not YAML: ",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_with_its_place(load_text: LoadText, mistake: str) -> None:
    text, message = MISTAKES[mistake]
    assert message in refused(load_text, ELSEWHERE + text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "recipes/mine.yaml: the file is empty; a recipe has at least a question and its arms"),
        ("# only a remark\n", "recipes/mine.yaml: the file is empty"),
        ("---\n", "recipes/mine.yaml:1: found nothing; a file of this kind is a mapping of names to values"),
        ("- a\n- b\n", "recipes/mine.yaml:1: found a list of 2; a file of this kind is a mapping"),
        ("just words\n", "recipes/mine.yaml:1: found the text 'just words'; a file of this kind is a mapping"),
        ("base: base\n", "recipes/mine.yaml: question: missing; say in a sentence what this recipe is there to"),
        ("question: \nbase: base\n", "recipes/mine.yaml: question: missing"),
        ("question: Q\n", "recipes/mine.yaml: feed_forward: missing, here and in its bases; possible: leaky, relu"),
        ("question: Q\nbase: bases\n", "mine.yaml:2: base: found the text 'bases', which names no recipe beside "
         "this one; possible: base, child; did you mean 'base'?"),
        ("question: Q\nbase: base.yaml\n", "base: found the text 'base.yaml', which names no recipe"),
        ("question: Q\nbase: ../recipes/base\n", "base: found the text '../recipes/base', which names no recipe"),
        ("question: Q\nbase: [base]\n", "base: found a list of 1, which names no recipe"),
        ("question: Q\nbase: mine\n", "recipes/mine.yaml:2: base: a cycle, mine -> mine; one of them must have"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_recipe(load_text: LoadText, text: str, message: str) -> None:
    assert message in refused(load_text, text, None)


def test_a_cycle_of_bases(load_text: LoadText, checkout: Path) -> None:
    (checkout / "recipes" / "other.yaml").write_text("# first\nquestion: Q\nbase: mine\n")
    message = refused(load_text, "question: Q\nbase: other\n")
    assert "recipes/other.yaml:3: base: a cycle, mine -> other -> mine" in message


def test_against_without_base_is_refused_with_the_two_things_it_can_mean(load_text: LoadText, checkout: Path) -> None:
    """It inherited once: a recipe of then must not be another program today, and not without a word."""
    remedy = (
        "against: compares, and no longer inherits; write base: base where this recipe is made from it (it is then "
        "compared with it, too), or base: none where it is whole by itself"
    )
    assert refused(load_text, "question: Q\nagainst: base\n") == f"recipes/mine.yaml:2: {remedy}"
    whole = (checkout / "recipes" / "base.yaml").read_text() + "against: base\n"
    assert refused(load_text, whole).endswith(f": {remedy}"), "even where nothing is missing without it"
    assert load_text(whole + "base: none\n").against == "base"
    (checkout / "recipes" / "between.yaml").write_text("question: Q\nagainst: base\n")
    assert refused(load_text, "question: Q\nbase: between\n") == f"recipes/between.yaml:2: {remedy}"


@pytest.mark.parametrize(
    ("against", "message"),
    [
        ("chld", "mine.yaml:3: against: found the text 'chld', which names no recipe beside this one; possible: base, "
         "child; did you mean 'child'?"),
        ("[child]", "mine.yaml:3: against: found a list of 1, which names no recipe"),
        ("mine", "mine.yaml:3: against: a recipe is compared with another, not with itself"),
    ],
)  # fmt: skip
def test_a_comparison_with_nothing_that_is_there(load_text: LoadText, against: str, message: str) -> None:
    assert message in refused(load_text, f"question: Q\nbase: base\nagainst: {against}\n")


def test_a_mistake_in_a_base_names_the_base_s_file(load_text: LoadText, checkout: Path) -> None:
    base = checkout / "recipes" / "base.yaml"
    base.write_text(base.read_text().replace("relu:", "rely:"))
    assert refused(load_text, CHILD).startswith("recipes/base.yaml:4: feed_forward.rely: no such technique")


def test_a_mistake_in_a_scale_names_its_file(load_text: LoadText, checkout: Path) -> None:
    scale = checkout / "recipes" / "scales" / "laptop.yaml"
    scale.write_text(scale.read_text() + "feed_forward: relu\n")
    message = refused(load_text, CHILD)
    assert "recipes/scales/laptop.yaml:6: feed_forward: no such entry; possible: shape, budget, sizes, tech" in message
    scale.write_text("budget: {train_seconds: 60}\n")
    message = refused(load_text, CHILD)
    assert "recipes/scales/laptop.yaml:1: machine: found nothing; it says processes, gpus and cpus, and" in message


def test_a_scale_that_is_not_there(load_text: LoadText) -> None:
    message = refused(load_text, CHILD, "lap_top")
    assert message == "recipes/mine.yaml: no scale 'lap_top'; possible: eight_h100, laptop; did you mean 'laptop'?"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bse.yaml", "recipes/bse.yaml: no such file; did you mean 'base.yaml'?"),
        ("base", "recipes/base: no such file; did you mean 'base.yaml'?"),
        ("scales", "recipes/scales: not a file"),
        ("n" * 240 + ".yaml", ".yaml: a recipe's name of 240 characters; it has at most 80"),
        ("n" * 300 + ".yaml", ".yaml: a recipe's name of 300 characters; it has at most 80"),
        ("my recipe.yaml", "recipes/my recipe.yaml: a recipe's name is letters, digits, _ and -"),
    ],
)
def test_a_path_that_is_no_recipe(checkout: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    monkeypatch.chdir(checkout)
    with pytest.raises(UserError) as error:
        load(Path("recipes") / name, None, checkout)
    assert message in str(error.value)


def test_a_file_of_100_mb_is_refused_unread(checkout: Path) -> None:
    path = checkout / "recipes" / "large.yaml"
    with path.open("wb") as file:
        file.truncate(100_000_000)  # sparse: nothing is written, and nothing must be read
    with pytest.raises(UserError, match=r"large\.yaml: 100,000,000 bytes; a recipe has at most 100,000"):
        load(path, None, checkout)


def test_bytes_that_are_no_text(checkout: Path) -> None:
    path = checkout / "recipes" / "bytes.yaml"
    path.write_bytes(b"question: \xff\xfe\n")
    with pytest.raises(UserError, match=r"bytes\.yaml: not UTF-8 text at byte 10"):
        load(path, None, checkout)


def test_broken_copies_of_a_recipe_are_read_or_refused_and_nothing_else(load_text: LoadText, checkout: Path) -> None:
    """Three hundred of them, each with a few characters lost and a few put in, the same ones every time."""
    generator = random.Random(1337)
    text = (checkout / "recipes" / "base.yaml").read_text() + "scales: {laptop: {techniques: {relu: {limit: 3}}}}\n"
    pieces = [
        "{",
        "}",
        "[",
        "]",
        ":",
        " ",
        "\n",
        "- ",
        '"',
        "'",
        "|",
        ">",
        "&a ",
        "*a",
        "!!x ",
        "%",
        "@",
        "?",
        "<<",
        "---",
    ]
    pieces += ["none", "{times: 2}", "1", "0.5", "true", "~", "\0", "\u2028", "ü", "arms: ", "base: base\n"]
    refusals = 0
    for _ in range(300):
        broken = text
        for _ in range(generator.randint(1, 3)):
            at, lost = generator.randrange(len(broken)), generator.choice([0, 1, 3, 20])
            broken = broken[:at] + "".join(generator.choices(pieces, k=generator.randint(0, 2))) + broken[at + lost :]
        try:
            compile(entry_program(load_text(broken)), "entry.py", "exec")
        except UserError as error:
            refusals += 1
            assert "mine.yaml" in str(error) and "\n" not in str(error), broken
    assert 150 < refusals < 300
