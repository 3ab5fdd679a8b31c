"""What programs that we start get of our environment, and what they do not."""

import pytest

from platform.processes.environment import bare, kept

SETTINGS = {
    "PATH": "/bin",
    "HOME": "/home/me",
    "LD_LIBRARY_PATH": "/cuda/lib",
    "PWD": "/",
    "OLDPWD": "/tmp",
    "LANG": "C",
    "NCCL_DEBUG": "WARN",
    "CUDA_VISIBLE_DEVICES": "4,5",
    "HF_HOME": "/data/hf",
    "TOKENIZERS_PARALLELISM": "false",
    "LC_ALL": "C.UTF-8",
    "http_proxy": "http://proxy:3128",
    "TRITON_CACHE_DIR": "/cache",
}


def test_settings_of_the_machine_are_kept() -> None:
    assert kept(SETTINGS) == SETTINGS


@pytest.mark.parametrize(
    "name",
    [
        *("TOKEN", "HF_TOKEN", "github_token", "AWS_SESSION_TOKEN", "API_KEY", "OPENAI_API_KEY", "KAGGLE_KEY"),
        *("SECRET_KEY", "DJANGO_SECRET_KEY", "AWS_SECRET_ACCESS_KEY", "CLIENT_SECRET", "PGPASSWORD", "DB_PASSWORD"),
        *("MYSQL_PWD", "SSH_PASSPHRASE", "DOCKER_AUTH_CONFIG", "DATABASE_URL", "GOOGLE_APPLICATION_CREDENTIALS"),
    ],
)
def test_secrets_are_not(name: str) -> None:
    assert kept({name: "x"}) == {}


@pytest.mark.parametrize(
    "name",
    [
        *("PYTHONPATH", "LD_PRELOAD", "SEED", "MAX_WALLCLOCK_SECONDS", "RANK", "MASTER_PORT"),
        *("MLFLOW_RUN_ID", "RAY_ADDRESS", "TUNE_X", "TORCHELASTIC_RUN_ID", "PET_X", "FAIRWAY_JOB", "PYTEST_X"),
    ],
)
def test_what_belongs_to_us_or_to_another_launcher_is_not(name: str) -> None:
    assert kept({name: "x"}) == {}


@pytest.mark.parametrize("name", ["EDITOR", "DSN", "SENTRY", "SLACK_HOOK", "NCCL_TOKEN", "BOTO_CONFIG", "LICENSE"])
def test_what_nobody_has_listed_is_not(name: str) -> None:
    assert kept({name: "x"}) == {}


def test_more_is_asked_for_by_name() -> None:
    asked = {"FAIRWAY_ENVIRONMENT": "HF_TOKEN, MY_SETTING,", "HF_TOKEN": "t", "MY_SETTING": "1", "OTHER": "2"}
    assert kept(asked) == {"HF_TOKEN": "t", "MY_SETTING": "1"}


def test_where_nobody_has_set_anything() -> None:
    assert set(bare(SETTINGS)) == {"PATH", "HOME", "LD_LIBRARY_PATH"} and bare({}) == {}
