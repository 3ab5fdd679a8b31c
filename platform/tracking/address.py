"""Where runs are tracked: the database beside them, or what ``MLFLOW_TRACKING_URI`` names. Passwords stay hidden."""

import hashlib
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from ..errors import UserError
from ..paths import shown
from ..runs.paths import tracker_database

VARIABLE = "MLFLOW_TRACKING_URI"
SQLITE = "sqlite+pysqlite:///"  # with the driver named, MLflow makes no folders of a path that is quoted
SECRET_KEYS = ("pass", "pwd", "token", "secret", "key")  # in the name of a value that a database's address may hold
HIDDEN = "***"


@dataclass(frozen=True)
class Address:
    """A tracking server or a database.

    Raises:
        UserError: ``uri`` cannot be read as an address.
    """

    uri: str = field(repr=False)  # as it was named

    def __post_init__(self) -> None:
        try:
            self._parts.port  # noqa: B018
        except ValueError:
            raise UserError(
                f"{VARIABLE} is no address that can be read; in a name or a password before the @, "
                "write %2F for a slash, %40 for an @, %3A for a colon, %25 for a %"
            ) from None

    @staticmethod
    def of(runs: Path) -> "Address":
        """Of the runs in this folder: what the environment names, else the SQLite file beside them."""
        named = os.environ.get(VARIABLE)
        return Address(named) if named else Address.of_database(tracker_database(runs.resolve()))

    @staticmethod
    def of_database(path: Path) -> "Address":
        """Of a SQLite file, whatever characters its path has."""
        return Address(SQLITE + str(path).replace("%", "%25").replace("?", "%3F"))

    @property
    def is_server(self) -> bool:
        return self.uri.startswith(("http://", "https://"))

    @property
    def database(self) -> Path | None:
        """The file, where it is a SQLite database."""
        scheme, _, rest = self.uri.partition(":///")
        path = unquote(rest.partition("?")[0])
        is_file = scheme in ("sqlite", "sqlite+pysqlite") and path not in ("", ":memory:")
        return Path(path).absolute() if is_file else None

    @property
    def shown(self) -> str:
        """For people: the path of a database file, else the address without user, password and query."""
        if self.database is not None:
            return shown(self.database)
        return self._parts._replace(netloc=self._parts.netloc.rpartition("@")[2], query="").geturl().rstrip("/")

    @property
    def lock(self) -> Path:
        """Held by the one process of this machine that writes there: beside a database, else in the temp folder."""
        if self.database is not None:
            return self.database.with_suffix(".lock")
        name = hashlib.sha256(self.shown.encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"fairway-{os.getuid()}-{name}.lock"

    def hidden(self, text: str) -> str:
        """``text`` without what only the owner of this address knows."""
        user, _, password = self._credentials
        options = parse_qsl(self._parts.query)
        secrets = {value for name, value in options if any(key in name.lower() for key in SECRET_KEYS)}
        secrets |= {self._parts.netloc.rpartition("@")[0], password or user, unquote(password or user)}
        for secret in sorted(filter(None, secrets), key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return text

    def for_mlflow(self) -> str:
        """The address as MLflow gets it, which repeats it in its messages: user and password are in its variables."""
        user, _, password = self._credentials
        if not (self.is_server and user and password):
            return self.uri
        os.environ |= {"MLFLOW_TRACKING_USERNAME": unquote(user), "MLFLOW_TRACKING_PASSWORD": unquote(password)}
        return self._parts._replace(netloc=self._parts.netloc.rpartition("@")[2]).geturl()

    @property
    def _credentials(self) -> tuple[str, str, str]:
        return self._parts.netloc.rpartition("@")[0].partition(":")

    @property
    def _parts(self) -> SplitResult:
        return urlsplit(self.uri)
