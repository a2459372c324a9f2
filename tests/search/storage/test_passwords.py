"""No password of a storage URL is shown or kept, whatever is printed, written or goes wrong."""

import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import URL, make_url
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from search.errors import SearchError
from search.storage.masking import masked
from search.storage.opening import open_storage
from tests.search.tiny import Say

SECRET = "S3cr3t@x{y}/z"  # with all that URLs, templates and paths trip over
ESCAPED = "S3cr3t%40x{y}%2Fz"


class GuardedSQLite(SQLiteDialect_pysqlite):
    """SQLite behind a user and a password, as a server would be: a dialect that real runs write through."""

    name = "sqlite"
    supports_statement_cache = True

    def create_connect_args(self, url: URL) -> Any:
        if url.password != SECRET:
            raise sqlite3.OperationalError(f"password {url.password!r} of {url.username} is wrong")
        return super().create_connect_args(URL.create("sqlite", database=url.database))


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys.modules[__name__], "guarded_dialect", GuardedSQLite, raising=False)
    registry.register("guarded", __name__, "guarded_dialect")
    yield
    registry.impls.pop("guarded", None)


PARTS = ("S3cr3t", "x{y}", "yy-zz")


def assert_hidden(text: str) -> None:
    for part in PARTS:
        assert part not in text


@pytest.mark.slow
def test_nothing_that_a_run_prints_or_writes_has_the_password(guarded: None, say: Say, tmp_path: Path) -> None:
    url = f"guarded://user:{ESCAPED}@/guarded.db"
    shown: list[str] = []
    for arguments in (["run", "tiny.toml", "--data", "synthetic", "--workers", "1"], ["report"], ["status"], ["best"]):
        for option in (["--storage", url], [f"--storage={url}"]):
            code, output, errors = say(*arguments, *option)
            assert code == 0, output + errors
            shown += [output, errors]
    assert any("guarded://user:***@" in text for text in shown), "the run's plan says where the study is kept"
    assert_hidden("".join(shown))
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"report.md", "report.json", "guarded.db"} <= {path.name for path in written}
    for path in written:
        assert_hidden(path.read_bytes().decode("latin-1"))
    assert b"guarded://user:***@" in b"".join(path.read_bytes() for path in written), "the command line is kept"


@pytest.mark.slow
@pytest.mark.parametrize(
    "url",
    [
        "guarded://user:S3cr3t-wrong@/nowhere.db",
        "guarded://user:S3cr3t@yy-zz@/nowhere.db",
        "oracle9://user:S3cr3t@host/db",
        "postgresql://user:S3cr3t@yy-zz@host/db",
        "postgresql://user@host/db?password=S3cr3t",
        "postgresql://host/db?user=u&sslpassword=S3cr3t&connect_timeout=3",
        "mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3DS3cr3t",
        "sqlite://user:S3cr3t@/nowhere.db",
        "mysql+pymysql://user:S3cr3t@host:port/db",
        "sqlite:////proc/nowhere/S.db?password=S3cr3t",
    ],
)
@pytest.mark.filterwarnings("ignore:Query string argument")
def test_no_refusal_has_the_password(url: str, guarded: None, say: Say) -> None:
    for arguments in (
        ["status"],
        ["run", "tiny.toml", "--data", "synthetic", "--dry-run"],
        ["run", "tiny.toml", "--data", "synthetic"],
    ):
        if arguments[-1] == "--dry-run" and url.startswith("sqlite"):
            continue  # it says that a new file would be made, and asks no more
        code, output, errors = say(*arguments, "--storage", url)
        assert code == 2
        assert_hidden(output + errors)
        assert len(errors.splitlines()) == 1


@pytest.mark.process
@given(
    password=st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), min_size=1),
    text=st.text(max_size=20),
)
def test_any_password_is_masked_wherever_its_url_stands(password: str, text: str) -> None:
    url = URL.create("postgresql", "user", f"<<<{password}>>>", "host", 5432, "db").render_as_string(
        hide_password=False
    )
    for shown in (masked(url), masked(f"{text} {url}\n"), masked(f"--storage={url}")):
        assert "postgresql://user:***@host:5432/db" in shown
    quoted = make_url(url).password
    assert quoted is not None
    assert quoted not in masked(f"{text} refused {quoted!s} for user", url)


@pytest.mark.process
def test_text_without_a_password_stays_as_it_is() -> None:
    for text in (
        "sqlite:///studies/fmnist.db",
        "fmnist-search run quick --set a=b",
        "postgresql://user@host/db",
        "a: b @ c",
        "12:30@home",
    ):
        assert masked(text) == text


def test_a_driver_that_quotes_the_password_is_not_repeated(guarded: None) -> None:
    with pytest.raises(SearchError) as caught:
        open_storage("guarded://user:S3cr3t-wrong@/nowhere.db", create=True)
    assert "password '***' of user is wrong" in str(caught.value)
