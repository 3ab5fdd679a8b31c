"""What a program that we start finds in its environment: the machine's settings, nothing of ours and no secret.

It is a list of what goes through. Everything else stays behind: a secret has any name, and logs travel. Whoever needs
more names it in FAIRWAY_ENVIRONMENT, separated by commas: ``FAIRWAY_ENVIRONMENT=HF_TOKEN,WANDB_API_KEY``.
"""

from collections.abc import Mapping

ADDED = "FAIRWAY_ENVIRONMENT"
NAMES = frozenset(
    {
        # The person and the system.
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "OLDPWD", "LANG", "LANGUAGE", "TZ", "TERM", "HOSTNAME"),
        *("TMPDIR", "TMP", "TEMP", "VIRTUAL_ENV", "CONDA_PREFIX", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT"),
        # Compilers and caches.
        *(
            "CC",
            "CXX",
            "CPATH",
            "LIBRARY_PATH",
            "C_INCLUDE_PATH",
            "HF_HOME",
            "HF_HUB_OFFLINE",
            "TOKENIZERS_PARALLELISM",
        ),
        # The way to the network.
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
        *("http_proxy", "https_proxy", "no_proxy", "all_proxy", "CURL_CA_BUNDLE"),
    }
)
PREFIXES = (
    *("LC_", "XDG_"),
    # Drivers, libraries and the network of the cards.
    *(
        "CUDA_",
        "CUDNN_",
        "CUBLAS_",
        "NVIDIA_",
        "NCCL_",
        "GLOO_",
        "UCX_",
        "UCC_",
        "FI_",
        "IBV_",
        "MLX5_",
        "ROCR_",
        "HIP_",
    ),
    *("TORCH_", "TORCHINDUCTOR_", "TORCHDYNAMO_", "PYTORCH_", "TRITON_", "ATEN_", "MALLOC_"),
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "NUMEXPR_", "VECLIB_"),
)
# Of the above, what would change an experiment or hold a secret.
DROPPED_SUFFIXES = ("TOKEN", "SECRET", "PASSWORD", "PASSPHRASE", "_PWD", "_KEY", "CREDENTIALS")
BARE = ("PATH", "HOME", "LD_LIBRARY_PATH")  # without which an interpreter may not find its own libraries


def kept(inherited: Mapping[str, str]) -> dict[str, str]:
    """What a program gets of the environment of its machine, and what was asked for by name."""
    added = {name.strip() for name in inherited.get(ADDED, "").split(",")}
    return {name: value for name, value in inherited.items() if name in added or _is_setting(name)}


def bare(inherited: Mapping[str, str]) -> dict[str, str]:
    """What a program gets that has to work on a machine where nobody has set anything for it."""
    return {name: inherited[name] for name in BARE if name in inherited}


def _is_setting(name: str) -> bool:
    return name in NAMES or (name.startswith(PREFIXES) and not name.upper().endswith(DROPPED_SUFFIXES))
