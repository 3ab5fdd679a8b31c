"""What a column, a row or a key is about: one vocabulary for README tables, metric lists and submission files."""

import re
from dataclasses import dataclass

BPB, NATS, TIME, BYTES, COUNT, MEMORY = "bpb", "nats", "time", "bytes", "count", "memory"

# quantity -> (dimension, facts that may be meant, the likeliest first). See evidence.py for how each is measured.
DIMENSIONS = {
    "score": BPB,
    "any_bpb": BPB,
    "either": BPB,
    "ttt": BPB,
    "sliding": BPB,
    "pre_ttt": BPB,
    "roundtrip": BPB,
    "post_ema": BPB,
    "pre_quant": BPB,
    "in_training": BPB,
    "gain": BPB,
    "quant_gap": BPB,
    "loss": NATS,
    "any_loss": NATS,
    "roundtrip_loss": NATS,
    "pre_quant_loss": NATS,
    "seeds": COUNT,
    "steps": COUNT,
    "iterations": COUNT,
    "parameters": COUNT,
    "val_tokens": COUNT,
    "step_ms": TIME,
    "train_time": TIME,
    "eval_time": TIME,
    "ttt_time": TIME,
    "total_bytes": BYTES,
    "model_bytes": BYTES,
    "compressed": BYTES,
    "code_bytes": BYTES,
    "headroom_bytes": BYTES,
    "peak_memory": MEMORY,
}
COUNTED = {name for name, dimension in DIMENSIONS.items() if dimension in (COUNT, BYTES)}


@dataclass(frozen=True)
class Meaning:
    """A quantity and which figure of it: of one run, or a statistic over the seeds."""

    quantity: str
    statistic: str = "value"  # value, mean, std, variance, max, min, range
    unit: str = ""  # a unit that the name gives: "(MB)", "_ms"
    says_unit: bool = False  # the name says that it is bits per byte or nats: no setting stands under it


_OTHERS = re.compile(
    r"\bpr ?#?\d|#\d|\bbaseline|previous|\bprior\b|\bsota\b|\bnaive\b|\bvs\b|versus|\bbefore\b(?! ttt)|\brank\b"
    r"|\btarget\b|threshold|p[- ]?value|\bvalid\b|\bparent\b|leaderboard|reference|\bimprovement\b|\bmerged\b"
    r"|\bwarm ?(?:up|down)|\btokens? per\b"
    r"|batch|stride$|\blr\b|learning|\bchunk|epoch|\bswa start|qat"
    r"|(?:std|standard)\.? ?err|\bstderr\b|\bsem\b|\bold\b|\bbase\b|\binit(?:ial)?\b|\bfirst (?:val|loss|bp[bp]|step)"
    r"|\bleader\b|(?<!under )(?<!the )\blimit\b"
    r"|(?<!artifact )(?<!size )(?<!byte )(?<!bytes )(?<!cap )\bmargin\b"
)
_SAYS_UNIT = re.compile(r"\bbp[bp]s?\b|bits[ /-]?(?:per[ -])?byte|\bloss\b|\bnats\b|\bscores?\b")
_STATISTICS = (
    ("std", re.compile(r"\b(?:std(?:ev)?|standard deviation|σ|sigma|sd)\b")),
    ("variance", re.compile(r"\bvar(?:iance)?\b")),
    ("mean", re.compile(r"\b(?:mean|avg|average)\b")),
    ("max", re.compile(r"\b(?:max(?:imum)?|worst|largest)\b")),
    ("min", re.compile(r"\b(?:min(?:imum)?|smallest)\b")),
    ("range", re.compile(r"\b(?:range|spread)\b")),
)
_UNIT = re.compile(r"[(\[ ](?P<unit>ms|s|sec|seconds|min|minutes|mb|mib|kb|bytes)[)\]]?$")
_UNIT_NAMES = {"sec": "s", "seconds": "s", "minutes": "min", "mb": "MB", "mib": "MiB", "kb": "KB"}

# The first that matches decides: longer and rarer readings stand above shorter and commoner ones.
_NAMES = [
    (quantity, re.compile(pattern))
    for quantity, pattern in (
        (
            "gain",
            r"\bttt[- ](?:gain|delta|Δ|effect|gap)|(?:gain|delta|Δ|gap).{0,12}\bttt\b|^(?:gain|Δ)(?: \(?bp[bp]\)?)?$",
        ),
        ("quant_gap", r"quant\w*[- ](?:gap|penalty|tax|cost|degradation|delta|Δ)\b|\bq[- ]?gap\b"),
        ("headroom_bytes", r"headroom|\bmargin\b|bytes left|under (?:the )?(?:cap|limit|budget)|\bslack\b"),
        ("", r"^(?:\w+ )?(?:budget|cap|limit)\b"),
        (
            "step_ms",
            r"\bms ?/ ?step|\bstep[- ]?(?:avg|average|time|ms)|\bms per step|(?:avg|average|mean) step(?! ?s)|/step\b",
        ),
        ("peak_memory", r"\bpeak\b.*(?:mem|vram|alloc)|\bmemory\b|\bvram\b|\bpeak mib"),
        ("parameters", r"^(?:model |total )?(?:num |n |number of )?param(?:eter)?s?\b(?! bank)"),
        ("val_tokens", r"\bval(?:idation)? tokens\b"),
        ("iterations", r"^(?:max )?iterations$"),
        ("ttt_time", r"\bttt\b.*(?:\btime\b|\bms\b|\bsec|wallclock|\bs$)|(?:\btime\b).*\bttt\b"),
        ("eval_time", r"\beval(?:uation)?\b.*(?:\btime\b|wallclock|\bs$|\bms$|\bsec)|(?:\btime\b|wallclock).*\beval"),
        (
            "train_time",
            r"\btrain(?:ing)?\b.*(?:\btime\b|wallclock|\bs$|\bms$|\bsec)|wallclock|\bstop(?:ped)? (?:time|at ms)",
        ),
        ("", r"\btrain(?:ing)? (?:loss|tokens)|\btokens\b|\btime\b|tok/s"),
        (
            "steps",
            r"^(?:total |train(?:ing)? |completed |final |optimizer |num |n |number of )*"
            r"steps?(?: stop| completed| done| reached| run)?(?: ?[(@].*)?(?: mean)?$",
        ),
        ("code_bytes", r"\bcode\b.*(?:bytes|size|\bkb\b)|\bbytes code\b|^code$"),
        (
            "",
            r"(?:\braw\b|uncompressed|unquantized).*\b(?:model|weights|size|bytes)\b"
            r"|\b(?:model|weights|size|bytes)\b.*(?:\braw\b|uncompressed|unquantized)"
            r"|^serialized model(?: (?:size|bytes))?$",  # the logs call the raw one so
        ),
        (
            "model_bytes",
            r"\bmodel\b.*(?:bytes|size|\bmb\b)|bytes model|^compressed model|serialized model"
            r"|\bweights? (?:bytes|size)",
        ),
        ("compressed", r"compressed (?:artifact|size|bytes)"),
        (
            "total_bytes",
            r"artifact|submission (?:size|bytes)|\btotal (?:size|bytes|submission)|bytes total"
            r"|^total(?: \((?:decimal|binary|mi?b)\))?$"
            r"|^size\b|^bytes$|\bfile size|\bpacked",
        ),
        ("pre_quant_loss", r"pre[- ]?quant\w*.*(?:loss|nats)|(?:post[- ]?)?ema.*(?:loss|nats)"),
        (
            "roundtrip_loss",
            r"(?:int\d|roundtrip|round[- ]trip|post[- ]?quant\w*|\bquantized)(?!.*(?:sliding|ttt)).*(?:loss|nats)",
        ),
        ("loss", r"\bval(?:idation)? loss\b|\bnats\b|^loss\b|\bttt loss"),
        ("pre_ttt", r"(?:pre|no|without|w/o|before)[- ]?ttt"),
        ("either", r"sliding ?/ ?ttt|ttt ?/ ?sliding"),
        ("ttt", r"\bttt\b(?!.*(?:lr|lora rank|rank|steps|optimizer|param))"),
        ("sliding", r"sliding|\bs\d{2,4}\b|\bstride"),
        ("post_ema", r"post[- ]?(?:ema|swa)|^(?:ema|swa) (?:bpb|bpp|val)"),
        ("in_training", r"pre[- ]?ema|last step|in[- ]training|at stop|\braw (?:bpb|val)"),
        ("pre_quant", r"pre[- ]?quant|\bfp32\b|\bbf16\b|full[- ]precision|unquantized|\bfloat\b"),
        (
            "roundtrip",
            r"post[- ]?quant|quantized|round[- ]?trip|\brt\b|\bint\d\b.*(?:bpb|bpp|val)|\bq(?:uant)?[- ]?bpb",
        ),
        ("score", r"\bbp[bp]s?\b|bits[ /-]?(?:per[ -])?byte|^(?:final |mean )?(?:scores?|results?)$|^final$"),
    )
]


def meaning(name: str) -> Meaning | None:
    """What a column, row or key called ``name`` is about; None where it is not about something that a log has."""
    text = re.sub(r"[\s_]+", " ", name.lower()).strip(" :.")
    if len(text) > 120 or _OTHERS.search(text):
        return None
    text = re.sub(r" ?[(\[](ms|s|sec|seconds|min|minutes)[)\]]$", r" \1", text)
    unit = _UNIT.search(re.sub(r" (?:mean|avg|max|min|std)$", "", text))
    statistic = next((name for name, pattern in _STATISTICS if pattern.search(text)), "value")
    if statistic == "mean" and re.search(r"step[- ]?(?:avg|average)|(?:avg|average) (?:step|ms)", text):
        statistic = "mean" if "mean" in text else "value"  # "step avg" is a figure of one run
    of_scores = _SAYS_UNIT.search(text) is not None
    if of_scores:  # "train-time val BPB" is no time
        text = re.sub(r"\btrain(?:ing)?[- ]time\b", "in-training", text)
    for quantity, pattern in _NAMES:
        if of_scores and DIMENSIONS.get(quantity) == TIME:
            continue
        if pattern.search(text):
            named = _UNIT_NAMES.get(unit["unit"], unit["unit"]) if unit else ""
            return Meaning(quantity, statistic, named, bool(_SAYS_UNIT.search(text))) if quantity else None
    return None
