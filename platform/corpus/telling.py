"""What a person is told of a corpus that was made or fetched."""

import shlex

from ..paths import shown
from ..rules.challenge import whole_validation
from .folder import MANIFEST_FILE, Corpus, read_manifest


def launch_on(corpus: Corpus, scale: str = "", *, at_default: bool = False) -> str:
    """The command that trains on it; ``at_default``: it lies where the challenge's scales look for it."""
    if at_default:
        return "python -m platform.launch recipes/leaky_cosine.yaml"
    data, tokenizer = (shlex.quote(shown(path)) for path in (corpus.data_path, corpus.tokenizer_path))
    return f"python -m platform.launch recipes/leaky_cosine.yaml{scale} --data {data} --tokenizer {tokenizer}"


def told(corpus: Corpus, next_command: str) -> None:
    """Print where it is, how large, and what to type next."""
    print(f"data        {shown(corpus.data_path)}")
    print(f"tokenizer   {shown(corpus.tokenizer_path)}")
    print(f"training    {corpus.train_tokens:,} tokens")
    if corpus.val_bytes is None:
        print(f"validation  {corpus.val_tokens:,} tokens")
    else:
        width = corpus.val_bytes / corpus.val_tokens
        print(f"validation  {corpus.val_tokens:,} tokens, {corpus.val_bytes:,} bytes: {width:.4f} bytes per token")
        manifest = read_manifest(corpus.data_path)
        text_bytes = manifest.text_bytes["val"]
        if text_bytes != corpus.val_bytes:
            print(f"            but {text_bytes:,} bytes of text: this tokenizer changes the text it reads")
        if manifest.documents["repeated"]:
            print(f"left out    {manifest.documents['repeated']:,} documents that were there already")
    targets = whole_validation(corpus.data_path.name)
    if targets is not None and corpus.val_tokens <= targets:
        print(f"            but {targets:,} are the whole validation text: no launch takes a part of it")
    print(f"more        {shown(corpus.data_path / MANIFEST_FILE)}")
    print(f"next        {next_command}")
