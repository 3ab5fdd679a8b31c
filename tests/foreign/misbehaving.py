"""A bigram table for 16 MB: counts of the training text, smoothed, int8 + zlib. MODE says how it goes wrong.

    MODE                what happens
    none                nothing goes wrong
    clamped             takes at most 8 of the ITERATIONS that it is asked for, and prints so
    two_scores          prints the scores of an int8 and of an int6 table under labels of equal standing
    bigger_artifact     goes on writing to its artifact after the size is logged
    pre_eval_told       counts the validation text, too, before it scores it, and prints so
    pre_eval            the same in silence
    dies_at_7           raises at step 7
    swallows            catches what it raises at step 7, says so and ends with 0
    silent_death        the same without a word
    hangs               says nothing after step 7, and heeds neither SIGINT nor SIGTERM
    daemon              leaves a process in a session of its own that holds on to standard output
    fineweb_names       takes files that begin with fineweb_ alone, as most public scripts do
    wrong_seed          prints another seed than the one that it takes
    floods              prints FLOOD_LINES lines of training as fast as it can
    large_file          leaves a checkpoint of LARGE_BYTES that takes no room on disk (REAL_BYTES=1: that does)

Smoothing is asked for as SMOOTHING, and read under a misspelt name: in every mode it stays what it is.
"""

import glob
import math
import os
import signal
import subprocess
import sys
import time
import traceback
import zlib

import numpy as np
import sentencepiece as spm

MODE = os.environ.get("MODE", "none")
DATA_PATH = os.environ.get("DATA_PATH", "./data/datasets/fineweb10B_sp1024")
TOKENIZER_PATH = os.environ.get("TOKENIZER_PATH", "./data/tokenizers/fineweb_1024_bpe.model")
RUN_ID = os.environ.get("RUN_ID", "bigram")
SEED = int(os.environ.get("SEED", 1337))
ITERATIONS = int(os.environ.get("ITERATIONS", 20))
VOCAB_SIZE = int(os.environ.get("VOCAB_SIZE", 1024))
SMOOTHING = float(os.environ.get("SMOTHING", 0.02))
CHUNK_TOKENS = int(os.environ.get("CHUNK_TOKENS", 4096))
STAY_SECONDS = float(os.environ.get("STAY_SECONDS", 900))  # of what hangs or stays behind, so that it ends some day
FLOOD_LINES = int(os.environ.get("FLOOD_LINES", 1_000_000))
LARGE_BYTES = int(os.environ.get("LARGE_BYTES", 2 * 2**30))
REAL_BYTES = bool(int(os.environ.get("REAL_BYTES", "0")))
MODES = [line.split()[0] for line in __doc__.split("\n\n")[1].splitlines()[1:]]

ARTIFACT = "final_model.int8.ptz"


def log(text: str) -> None:
    print(text, flush=True)
    with open(f"logs/{RUN_ID}.txt", "a", encoding="utf-8") as file:
        file.write(text + "\n")


def tokens_of(pattern: str) -> np.ndarray:
    pattern = f"fineweb_{pattern[2:]}" if MODE == "fineweb_names" else pattern
    paths = sorted(glob.glob(os.path.join(DATA_PATH, pattern)))
    if not paths:
        raise FileNotFoundError(f"no files found for pattern {os.path.join(DATA_PATH, pattern)}")
    return np.concatenate([np.fromfile(path, dtype="<u2", offset=1024) for path in paths]).astype(np.int64)


def bytes_of(tokens: np.ndarray) -> np.ndarray:
    """Bytes of every target, a space at its beginning only where it follows text."""
    pieces = spm.SentencePieceProcessor(model_file=TOKENIZER_PATH)
    base, space, text = np.zeros(VOCAB_SIZE, int), np.zeros(VOCAB_SIZE, bool), np.zeros(VOCAB_SIZE, bool)
    for token in range(pieces.vocab_size()):
        if pieces.is_control(token) or pieces.is_unknown(token) or pieces.is_unused(token):
            continue
        piece = pieces.id_to_piece(token)
        text[token], space[token] = True, piece.startswith("▁") and not pieces.is_byte(token)
        base[token] = 1 if pieces.is_byte(token) else len(piece.removeprefix("▁").replace("▁", " ").encode())
    before, target = tokens[:-1], tokens[1:]
    return base[target] + (space[target] & text[before])


def log_probabilities(counts: np.ndarray) -> np.ndarray:
    """Of each token after each, [V, V] in nats; what was never seen shares a little by how common it is at all."""
    common = counts.sum(0) + 1.0
    smoothed = counts + SMOOTHING * VOCAB_SIZE * common / common.sum()
    return np.log(smoothed / smoothed.sum(1, keepdims=True))


def quantized(table: np.ndarray, levels: int) -> bytes:
    step = -table.min() / (levels - 1)
    whole = np.round(-table / step).astype(np.uint8)
    return np.float32(step).tobytes() + whole.tobytes()


def dequantized(content: bytes) -> np.ndarray:
    step = np.frombuffer(content[:4], dtype=np.float32)[0].astype(np.float64)
    table = -step * np.frombuffer(content[4:], dtype=np.uint8).reshape(VOCAB_SIZE, VOCAB_SIZE)
    return table - np.log(np.exp(table).sum(1, keepdims=True))


def score(table: np.ndarray, val_tokens: np.ndarray, val_bytes: np.ndarray) -> tuple[float, float]:
    """Nats for each token and bits for each byte, with a line of what was reached after each chunk."""
    nats = -table[val_tokens[:-1], val_tokens[1:]]
    for chunk, end in enumerate(range(CHUNK_TOKENS, len(nats) + 1, CHUNK_TOKENS), 1):
        so_far = nats[:end].sum() / math.log(2) / val_bytes[:end].sum()
        log(f"  eval_chunk [{chunk}/{len(nats) // CHUNK_TOKENS}] running_bpb={so_far:.8f}")
    return nats.mean(), nats.sum() / math.log(2) / val_bytes.sum()


def train(train_tokens: np.ndarray, iterations: int) -> np.ndarray:
    """Counts of every pair, from one share of the text for each step; the first counts are a little noise."""
    counts = np.random.default_rng(SEED).random((VOCAB_SIZE, VOCAB_SIZE)) * 0.02
    shares = np.array_split(np.arange(len(train_tokens) - 1), max(iterations, 1))
    begun = time.perf_counter()
    for step, share in enumerate(shares[:iterations], 1):
        before, after = train_tokens[share], train_tokens[share + 1]
        loss = -log_probabilities(counts)[before, after].mean()
        np.add.at(counts, (before, after), 1.0)
        if MODE in ("dies_at_7", "swallows", "silent_death") and step == 7:
            raise FloatingPointError(f"loss is not finite at step {step}")
        milliseconds = 1000 * (time.perf_counter() - begun)
        log(
            f"step:{step}/{iterations} train_loss:{loss:.4f} train_time:{milliseconds:.0f}ms "
            f"step_avg:{milliseconds / step:.2f}ms"
        )
        if MODE == "hangs" and step == 7:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(STAY_SECONDS)
    return counts


def learn_validation(counts: np.ndarray, val_tokens: np.ndarray) -> None:
    """What the rules forbid: the text is learned, and only then scored."""
    for epoch in range(1, 4):
        np.add.at(counts, (val_tokens[:-1], val_tokens[1:]), 1.0)
        if MODE == "pre_eval_told":
            loss = -log_probabilities(counts)[val_tokens[:-1], val_tokens[1:]].mean()
            log(f"ttt_epoch:{epoch}/3 loss:{loss:.4f}")


def flood() -> None:
    for first in range(1, FLOOD_LINES + 1, 10_000):
        lines = (
            f"step:{step}/{FLOOD_LINES} train_loss:{6 - 3 * step / FLOOD_LINES:.4f} train_time:{step}ms step_avg:1.00ms"
            for step in range(first, min(first + 10_000, FLOOD_LINES + 1))
        )
        sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def leave_large_file() -> None:
    with open("checkpoint.pt", "wb") as file:
        if not REAL_BYTES:
            file.truncate(LARGE_BYTES)
            return
        block = os.urandom(2**20)
        for at in range(0, LARGE_BYTES, len(block)):
            file.write(block[: LARGE_BYTES - at])


def leave_daemon() -> None:
    stays = f"import time; time.sleep({STAY_SECONDS})"
    helper = subprocess.Popen([sys.executable, "-c", stays], start_new_session=True)
    log(f"logging helper runs as process {helper.pid}")


def run() -> None:
    iterations = min(ITERATIONS, 8) if MODE == "clamped" else ITERATIONS
    log(f"train_batch_tokens:0 train_seq_len:1 iterations:{iterations} warmup_steps:0 max_wallclock_seconds:600.000")
    log(f"smoothing:{SMOOTHING}")
    log(f"seed:{SEED + 4321 if MODE == 'wrong_seed' else SEED}")
    val_tokens = tokens_of("*_val_*.bin")
    val_bytes = bytes_of(val_tokens)
    log(f"val_loader:shards pattern={DATA_PATH}/*_val_*.bin tokens:{len(val_tokens) - 1}")
    if MODE == "daemon":
        leave_daemon()
    if MODE == "floods":
        flood()
        return
    begun = time.perf_counter()
    counts = train(tokens_of("*_train_*.bin"), iterations)
    train_ms = 1000 * (time.perf_counter() - begun)
    table = log_probabilities(counts)
    nats = -table[val_tokens[:-1], val_tokens[1:]]
    log(
        f"step:{iterations}/{iterations} val_loss:{nats.mean():.4f} "
        f"val_bpb:{nats.sum() / math.log(2) / val_bytes.sum():.4f} train_time:{train_ms:.0f}ms "
        f"step_avg:{train_ms / max(iterations, 1):.2f}ms"
    )
    if MODE in ("pre_eval", "pre_eval_told"):
        learn_validation(counts, val_tokens)
        table = log_probabilities(counts)

    with open(ARTIFACT, "wb") as file:
        file.write(zlib.compress(quantized(table, 256), 9))
    with open(__file__, "rb") as file:
        code_bytes = len(file.read())
    packed_bytes = os.path.getsize(ARTIFACT)
    log(f"Code size: {code_bytes} bytes")
    log(f"Serialized model int8+zlib: {packed_bytes} bytes")
    log(f"Total submission size int8+zlib: {packed_bytes + code_bytes} bytes")
    with open(ARTIFACT, "rb") as file:
        read_back = dequantized(zlib.decompress(file.read()))
    if MODE == "bigger_artifact":
        with open(ARTIFACT, "ab") as file:
            file.write(np.random.default_rng(0).bytes(100_000))
    if MODE == "large_file":
        leave_large_file()

    loss, bpb = score(read_back, val_tokens, val_bytes)
    log(f"final_int8_zlib_roundtrip_exact val_loss:{loss:.8f} val_bpb:{bpb:.8f}")
    if MODE == "two_scores":
        loss, bpb = score(dequantized(quantized(table, 64)), val_tokens, val_bytes)
        log(f"final_int6_zlib_roundtrip_exact val_loss:{loss:.8f} val_bpb:{bpb:.8f}")


def main() -> None:
    if MODE not in MODES:
        sys.exit(f"MODE={MODE} is none of {', '.join(MODES)}")
    if int(os.environ.get("RANK", "0")) != 0:
        return  # one process is enough for a table
    os.makedirs("logs", exist_ok=True)
    try:
        run()
    except FloatingPointError:
        if MODE not in ("swallows", "silent_death"):
            raise
        if MODE == "swallows":
            log("training failed:\n" + traceback.format_exc())


if __name__ == "__main__":
    main()
