"""Every number of a folder is worked out again from its files; a changed one is found, and no ledger can do harm."""

import json
import math
import statistics
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from platform.ledger import ledger
from platform.ledger.derivation import MOST_FILE_BYTES, Folder, LedgerError, derive, formatted
from platform.ledger.ledger import LEDGER_FILE, README_FILE, SUBMISSION_FILE, Draft, check

LOG = "warmup_step:2/2\nstep:40/100 val_loss:5.5 val_bpb:3.25 train_time:400ms step_avg:10.00ms\nfinal int6: 7 bytes\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two logs, a JSON file and a program, as a record has them."""
    (tmp_path / "a.log").write_text(LOG)
    (tmp_path / "b.log").write_text(LOG.replace("3.25", "2.75").replace("5.5", "4.5"))
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "a.json").write_text(
        '{"eval_seconds": 8.5946609610005, "seed": 1337, "device": "8x H100", "phases": {"load": 0.5}, '
        '"list": [{"x": 2}]}'
    )
    (tmp_path / "train_gpt.py").write_text("A = 1  # of it\nRECIPE = Recipe(\n    layers=(1, 2,),\n)\n")
    return tmp_path


@pytest.fixture
def written(folder: Path) -> Path:
    """The same with a README, a submission file and their ledger."""
    draft = Draft(folder)
    scores = ["a.log:2 val_bpb", "b.log:2 val_bpb"]
    mean, std = draft.number(["mean", *scores], ".5f"), draft.number(["sample_std", *scores], ".5f")
    seed = draft.number("results/a.json seed", "d")
    page = f"# Title\n\n**val_bpb: {mean}** (std {std})\n\nWords.\n\n| Seed | {seed} |\n"
    readme, lines = draft.page(page)
    tree = {
        "name": draft.given("The 11th"),
        "val_bpb": draft.number(["mean", *scores], ".4f"),
        "seeds": [draft.number("results/a.json seed", "d")],
        "seed_results": {
            seed: {"val_bpb": draft.number(scores[0], ".2f"), "note": f"on {draft.text('results/a.json device')}"}
        },
        "none": None,
        "yes": True,
    }
    document, values = draft.document(tree)
    (folder / README_FILE).write_text(readme)
    (folder / SUBMISSION_FILE).write_text(document)
    names = {"a.log": "seed_1/a/train.log", "b.log": "", "results/a.json": "", "train_gpt.py": "train_gpt.py"}
    ledger.write(folder, {"run": "x"}, names, {README_FILE: lines, SUBMISSION_FILE: values})
    return folder


# --- expressions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("a.log:2 val_bpb", 3.25),
        ("a.log:2 step", 40),
        ("a.log:2 train_time", 400),
        ("a.log:3 final int6", 7),
        ("results/a.json eval_seconds", 8.5946609610005),
        ("results/a.json phases.load", 0.5),
        ("results/a.json list.0.x", 2),
        ("results/a.json device", "8x H100"),
        ("a.log:3", "final int6: 7 bytes"),
        (17, 17),
        (["mean", "a.log:2 val_bpb", "b.log:2 val_bpb"], 3.0),
        (["sample_std", "a.log:2 val_bpb", "b.log:2 val_bpb"], statistics.stdev([3.25, 2.75])),
        (["max", 1, 3, 2], 3),
        (["min", 3, 1, 2], 1),
        (["sum", 0.1, 0.2, 0.3], math.fsum([0.1, 0.2, 0.3])),
        (["count", 5, 5, 5], 3),
        (["difference", ["mean", 1, 2], 0.5], 1.0),
        (["quotient", 1, 4], 0.25),
        (["product", ["quotient", 1, 4], 8], 2.0),
        (["limit", "artifact_bytes"], 16_000_000),
        (["bytes", "a.log"], len(LOG)),
        (["same", "results/a.json seed", "results/a.json seed"], 1337),
        (["confirmed", 1.00000001, 1.0000000099], 1.00000001),
        (["list", 1, 2], (1.0, 2.0)),
        # One-sample t of 1, 2, 3 against 0: t = 2 / (1 / sqrt 3) = 3.4641, two degrees of freedom; the p of that is
        # 1 - t / sqrt(t^2 + 2), and half the interval is 4.302653 / sqrt 3.
        (["t_p", 1, 2, 3], 1 - math.sqrt(12) / math.sqrt(14)),
        (["t_low", 1, 2, 3], 2 - 4.302652729911275 / math.sqrt(3)),
        (["t_high", 1, 2, 3], 2 + 4.302652729911275 / math.sqrt(3)),
        # Welch: variances 1 and 1, n 3 and 3, so four degrees of freedom, t = gain / sqrt(2 / 3).
        (["welch_t", ["list", 1, 2, 3], ["list", 2, 3, 4]], 1 / math.sqrt(2 / 3)),
        (["welch_df", ["list", 1, 2, 3], ["list", 2, 3, 4]], 4.0),
        (["welch_t", ["list", 1, 2, 3], ["list", 2, 3, 4], 0.5], 0.5 / math.sqrt(2 / 3)),
        (["holm", 1, 0.01, 0.04], 0.04),
        (["holm", 0, 0.01, 0.04], 0.02),
    ],
    ids=str,
)
def test_expressions(folder: Path, expression: Any, expected: Any) -> None:
    found = derive(expression, Folder(folder))
    assert found == (pytest.approx(expected, rel=1e-9) if isinstance(expected, float) else expected)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("nowhere.log:1 x", "nowhere.log is not there"),
        ("a.log:99 x", "a.log has no line 99"),
        ("a.log:0 x", "a.log has no line 0"),
        ("a.log:2 bpb", "no number behind bpb"),  # a part of val_bpb is another thing
        ("results/a.json nothing", "has no nothing"),
        ("results/a.json phases", "neither a number nor a text"),
        ("a.log seed", "a.log is not JSON"),
        ("../secret.json x", "is no file of this folder"),
        ("/etc/passwd:1", "is no file of this folder"),
        ("link.json x", "is no file of this folder"),
        (":1 x", "is no address"),
        (["quotient", 1, 0], "quotient cannot be worked out"),
        (["mean"], "mean cannot be worked out"),
        (["mean", "results/a.json device"], "mean cannot be worked out"),
        (["sample_std", 1], "sample_std cannot be worked out"),
        (["t_p", 1], "t_p"),
        (["holm", 7, 0.1], "holm cannot be worked out"),
        (["same", 1, 2], "it is 1 in one place and 2 in another"),
        (["confirmed", 1.5, 1.6], "the log has 1.5"),
        (["product", 1e308, 1e308], "product gives no number"),
        (["eval", "1"], "there is no operation 'eval'"),
        (["limit", "sky"], "there is no operation 'limit'"),
        ([["mean"], 1], "there is no operation"),
        ([], "is no expression"),
        (None, "is no expression"),
        (True, "is no expression"),
        (["bytes", ["a.log"]], "there is no operation 'bytes'"),
        (["bytes", "."], "is no file of this folder"),
    ],
    ids=str,
)
def test_what_cannot_be_worked_out(folder: Path, expression: Any, reason: str) -> None:
    (folder.parent / "secret.json").write_text('{"x": 1}')
    (folder / "link.json").symlink_to(folder.parent / "secret.json")
    with pytest.raises(LedgerError) as caught:
        derive(expression, Folder(folder))
    assert reason in str(caught.value)


def test_an_expression_without_end_and_a_file_too_large_are_not_followed(folder: Path) -> None:
    deep: Any = 1
    for _ in range(2000):
        deep = ["max", deep]
    with (folder / "large.json").open("wb") as file:
        file.truncate(MOST_FILE_BYTES + 1)
    (folder / "round.json").symlink_to(folder / "round.json")
    for expression in (deep, "large.json x", "round.json x"):
        with pytest.raises(LedgerError):
            derive(expression, Folder(folder))


def test_formats(folder: Path) -> None:
    found = [formatted(value, form) for value, form in ((1234567, ",d"), (0.125, "+.2f"), (1e-7, ".4g"), (2.0, "d"))]
    assert found == ["1,234,567", "+0.12", "1e-07", "2"]
    assert formatted("text", "") == "text"
    for value, form in ((1.0, ""), (1.0, ".999f"), (1.0, "x"), (1.0, "100000d"), ("text", ".2f"), ((1.0,), ".2f")):
        with pytest.raises(LedgerError):
            formatted(value, form)  # type: ignore[arg-type]


# --- writing ----------------------------------------------------------------------------------------------------------


def test_a_number_that_nobody_measured_cannot_be_written(folder: Path) -> None:
    draft = Draft(folder)
    mark = draft.number("a.log:2 val_bpb", ".2f")
    assert draft.page(f"Score {mark}, again {mark}.")[0] == "Score 3.25, again 3.25."
    with pytest.raises(LedgerError, match=r"line 2 has a number that nothing measured"):
        draft.page(f"Score {mark}\nand 3.25")
    with pytest.raises(LedgerError, match=r"val_bpb has a number"):
        draft.document({"val_bpb": "3.25"})
    with pytest.raises(LedgerError, match=r"nothing like it"):
        draft.quoted("layers=(1, 3)", "train_gpt.py:3")
    assert draft.page(draft.quoted("layers=(1, 2)", "train_gpt.py:2-4"))[0] == "layers=(1, 2)"
    with pytest.raises(LedgerError, match=r"a.log:1"):
        draft.number("a.log:1 val_bpb", ".2f")


def test_what_is_written(written: Path) -> None:
    assert (written / README_FILE).read_text() == (
        "# Title\n\n**val_bpb: 3.00000** (std 0.35355)\n\nWords.\n\n| Seed | 1337 |\n"
    )
    assert json.loads((written / SUBMISSION_FILE).read_text()) == {
        "name": "The 11th",
        "val_bpb": 3.0,
        "seeds": [1337],
        "seed_results": {"1337": {"val_bpb": 3.25, "note": "on 8x H100"}},
        "none": None,
        "yes": True,
    }
    assert '"val_bpb": 3.0000,' in (written / SUBMISSION_FILE).read_text(), "as many digits as were measured"
    content = json.loads((written / LEDGER_FILE).read_text())
    assert (
        content["files"]["a.log"]["origin"] == "seed_1/a/train.log" and len(content["files"]["a.log"]["sha256"]) == 64
    )
    assert content["numbers"][README_FILE][0] == {
        "line": 3,
        "text": "**val_bpb: 3.00000** (std 0.35355)",
        "numbers": [
            {"printed": "3.00000", "from": ["mean", "a.log:2 val_bpb", "b.log:2 val_bpb"], "format": ".5f"},
            {"printed": "0.35355", "from": ["sample_std", "a.log:2 val_bpb", "b.log:2 val_bpb"], "format": ".5f"},
        ],
    }
    keys = [one["key"] for one in content["numbers"][SUBMISSION_FILE]]
    assert keys == [
        "name",
        "val_bpb",
        "seeds[0]",
        "seed_results.1337",
        "seed_results.1337.val_bpb",
        "seed_results.1337.note",
    ]
    assert check(written) == [] and ledger.entries(written) == 9


# --- checking ---------------------------------------------------------------------------------------------------------


def replace_in(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text()
    assert text.count(old) == 1
    (folder / name).write_text(text.replace(old, new))


NOT_THE_LEDGER_S, TYPED = "not what the ledger has: ", "a number that the ledger does not have: "
OTHER_FILE, NOT_GIVEN = "its sha256 is another one now", "not what the files give: "


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("README.md", "3.00000", "3.00001", [f":3: {NOT_THE_LEDGER_S}3.00001**, the ledger derives 3.00000**"]),
        ("README.md", "1337", "1338", [f":7: {NOT_THE_LEDGER_S}1338, the ledger derives 1337"]),
        ("README.md", "Seed", "Sead", [f":7: {NOT_THE_LEDGER_S}Sead, the ledger derives Seed"]),
        ("README.md", "Words.", "About 5 %.", [f":5: {TYPED}About 5 %."]),
        ("README.md", "| Seed | 1337 |\n", "", [":7: the ledger has a number that is not there"]),
        ("submission.json", "3.0000", "2.9999", [f" val_bpb: {NOT_THE_LEDGER_S}2.9999, the ledger derives 3.0000"]),
        ("submission.json", "3.0000", "3.000", [f" val_bpb: {NOT_THE_LEDGER_S}3.000, the ledger derives 3.0000"]),
        ("submission.json", '"1337":', '"1338":', [f" seed_results.1338: {NOT_THE_LEDGER_S}"]),
        ("submission.json", "x H100", "x H200", [f" seed_results.1337.note: {NOT_THE_LEDGER_S}H200"]),
        ("submission.json", '"none": null', '"none": 7', [f" none: {TYPED}7"]),
        ("submission.json", '"none": null', '"val_bpb": 1', [": a key stands there twice"]),
        ("submission.json", '"none": null', '"none": null,', [": cannot be read"]),
        ("a.log", "3.25", "3.24", [f": {OTHER_FILE}", f"README.md:3: {NOT_GIVEN}3.00000, the ledger derives 2.99500"]),
        ("train_gpt.py", "# of it", "# of us", [f": {OTHER_FILE}"]),
        ("ledger.json", '{"printed": "3.00000"', '{"printed": "4.00000"', ["README.md:3: a number has no entry"]),
        ("ledger.json", '"format": ".4f"', '"format": ".3f"', [f"submission.json val_bpb: {NOT_GIVEN}3.0000"]),
    ],
)
def test_a_change_is_found(written: Path, name: str, old: str, new: str, told: list[str]) -> None:
    replace_in(written, name, old, new)
    found = [str(one) for one in check(written)]
    for one in told:
        expected = one if one.startswith(("README", "submission")) else f"{name}{one}"
        assert any(line.startswith(expected) for line in found), found


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "b.log",
            ["b.log: b.log is not there", f"README.md:3: {NOT_GIVEN}3.00000, the ledger derives b.log is not there"],
        ),
        ("README.md", ["README.md:3: the ledger has a number that is not there"]),
        ("submission.json", ["submission.json: cannot be read: submission.json is not there"]),
    ],
)
def test_a_file_that_is_gone_is_missed(written: Path, name: str, told: list[str]) -> None:
    (written / name).unlink()
    found = [str(one) for one in check(written)]
    for one in told:
        assert any(line.startswith(one) for line in found), found


def test_a_number_changed_on_both_sides_is_found_by_its_files(written: Path) -> None:
    """Who changes the README and the ledger's copy of it has still not changed the logs."""
    for name in (README_FILE, LEDGER_FILE):
        path = written / name
        path.write_text(path.read_text().replace("3.00000", "2.00000"))
    assert [str(one) for one in check(written)] == [
        "README.md:3: not what the files give: 2.00000, the ledger derives 3.00000"
    ]


def test_words_may_be_added_and_lines_moved(written: Path) -> None:
    text = (written / README_FILE).read_text()
    (written / README_FILE).write_text(
        "Some words first.\n\n" + text.replace("Words.", "Other words,\nand more.") + "\nEnd.\n"
    )
    assert check(written) == []


def test_the_folder_can_be_anywhere(written: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("another place") / "a folder"
    written.rename(elsewhere)
    assert check(elsewhere) == []
    replace_in(elsewhere, README_FILE, "0.35355", "0.35354")
    assert len(check(elsewhere)) == 1


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000, b'{"schema": "fairway ledger 2"}'])
def test_what_is_no_ledger_says_so(written: Path, content: bytes) -> None:
    (written / LEDGER_FILE).write_bytes(content)
    with pytest.raises(LedgerError, match=r"ledger\.json"):
        check(written)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "mean", "a.log:2 val_bpb", "in", "\0"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["printed", "from", "format", "line", "key", "text", "numbers", "sha256"]), inner
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.dictionaries(st.sampled_from(["a.log", "../x", "/", "a.log/b", ""]), JSON),
    items=st.lists(JSON, max_size=4),
)
def test_no_ledger_makes_the_check_fail(written: Path, files: Any, items: list[Any]) -> None:
    """Whatever stands in it: problems, or that it is no ledger; no other error."""
    whole = {"schema": ledger.SCHEMA, "files": files, "numbers": {README_FILE: items, SUBMISSION_FILE: []}}
    (written / LEDGER_FILE).write_text(json.dumps(whole))
    try:
        problems = check(written)
    except LedgerError:
        return
    assert problems, "the README's numbers have no entry in it"
