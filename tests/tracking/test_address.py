"""Where runs are tracked: any path is reached, and nobody reads a password."""

import os
from pathlib import Path

import pytest
from sqlalchemy import make_url

from platform.errors import UserError
from platform.tracking.address import VARIABLE, Address

ODD = ("plain", "my runs", "wo?r", "per%20cent", "per%cent", "h#sh", "semi;colon", "Läufe", "quo'te", "new\nline")


@pytest.mark.parametrize("name", ODD)
def test_any_path_is_the_one_that_sqlalchemy_opens(name: str, tmp_path: Path) -> None:
    path = tmp_path / name / "mlflow.db"
    address = Address.of_database(path)
    assert make_url(address.uri).database == str(path)
    assert address.database == path and address.lock == path.with_suffix(".lock")
    assert not address.is_server and address.for_mlflow() == address.uri


def test_the_environment_names_another_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert Address.of(tmp_path / "runs").database == tmp_path / "runs" / "mlflow.db"
    monkeypatch.setenv(VARIABLE, "http://tracking:5000/")
    address = Address.of(tmp_path / "runs")
    assert (address.is_server, address.shown, address.database) == (True, "http://tracking:5000", None)
    monkeypatch.setenv(VARIABLE, "sqlite:////data/100%25/m.db")
    assert Address.of(tmp_path / "runs").database == Path("/data/100%/m.db")


@pytest.mark.parametrize(
    ("uri", "password", "shown"),
    [
        ("http://ann:pl4nted@host:5000/a", "pl4nted", "http://host:5000/a"),
        ("https://ann:pl4nted%2Fx@host", "pl4nted/x", "https://host"),
        ("https://pl4nted@host", "pl4nted", "https://host"),
        ("postgresql://ann:pl4nted@db:5432/mlflow", "pl4nted", "postgresql://db:5432/mlflow"),
        ("mysql://db/mlflow?user=ann&password=pl4nted", "pl4nted", "mysql://db/mlflow"),
    ],
)
def test_a_password_is_not_shown(uri: str, password: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")
    address = Address(uri)
    assert address.shown == shown and "pl4nted" not in repr(address)
    assert address.lock == Address(shown).lock, "one lock, whoever asks"
    told = address.hidden(f"cannot reach {uri}: {password} is not the password of {shown}")
    assert "pl4nted" not in told and told.endswith(f"of {shown}")
    assert address.is_server is uri.startswith("http")
    if uri.startswith("http") and "ann" in uri:
        assert address.for_mlflow() == uri.replace(uri.split("/")[2].split("@")[0] + "@", "")
        assert os.environ["MLFLOW_TRACKING_USERNAME"] == "ann"
        assert os.environ["MLFLOW_TRACKING_PASSWORD"] == password
    else:
        assert address.for_mlflow() == uri and not os.environ["MLFLOW_TRACKING_PASSWORD"]


def test_an_address_that_cannot_be_read_is_not_repeated() -> None:
    with pytest.raises(UserError, match="%2F for a slash") as raised:
        Address("http://ann:pl4/nted@host")
    assert "nted" not in str(raised.value) and raised.value.__suppress_context__
