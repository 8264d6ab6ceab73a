"""What must never happen: a secret in a file, a pickle that is loaded, a write outside the home."""

from __future__ import annotations

import ast
import hashlib
import pickletools
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from conf.load import LoadedStudy, parse_study
from conf.profile import Profile
from estimators.errors import CausewayError, PlatformError, StudyError
from jobs import register, resolve
from jobs.pages import tracking
from jobs.registry import champion
from jobs.registry.review import PROMOTED, Ruling, decide
from tests.jobs import record_sample as sample
from tests.jobs import review_sample as windows
from tests.jobs.review_sample import ATE
from tests.syntax import parsed

ROOT = Path(__file__).parents[1]
PACKAGES = ("estimators", "conf", "jobs", "pipelines")
PLANTED = "planted-5ecret-0f-this-test"
PICKLING = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
SOURCES = sorted(file for name in PACKAGES for file in (ROOT / name).rglob("*.py"))


def imports(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_module_pickles_evaluates_or_runs_a_shell(file: Path) -> None:
    tree = parsed(file)
    assert not imports(tree) & PICKLING
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        assert name not in ("eval", "exec", "compile", "__import__"), ast.unparse(node)
        for option in node.keywords:
            assert not (
                option.arg in ("shell", "allow_pickle")
                and isinstance(option.value, ast.Constant)
                and option.value.value
            ), ast.unparse(node)


def test_the_environment_is_read_in_one_place() -> None:
    """A secret that no module reads cannot be written by one."""
    allowed = {
        "conf/profile.py", "jobs/failpoints.py", "jobs/engines.py", "jobs/spark/jvm.py",
        "jobs/pages/tracking.py", "pipelines/doctor.py", "pipelines/ui.py",
        "jobs/__init__.py",  # tells delta-rs's allocator
    }  # fmt: skip
    for path in SOURCES:
        name = str(path.relative_to(ROOT))
        text = path.read_text(encoding="utf-8")
        if name not in allowed:
            assert "os.environ" not in text, name
            assert "getenv" not in text, name


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with runs, a registry and a decision, made while secrets lay in the environment."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in (
            "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "MLFLOW_TRACKING_PASSWORD",
            "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING",
            "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY", "PGPASSWORD",
            "RAY_AUTH_TOKEN",
        ):  # fmt: skip
            patch.setenv(name, PLANTED)
        patch.setenv("CAUSEWAY_WEBHOOK_URL", f"https://hooks.example/{PLANTED}")
        for label in ("2013-01", "2013-02"):
            recorded = windows.record(home, label)
            register.run(recorded.resolved, recorded.estimate, recorded.profile)
        loaded = windows.study()
        decide(recorded.profile, loaded.study, Ruling(ATE, PROMOTED, "good", "Ada"))
        champion.sync(recorded.profile, loaded, ATE)
    return home


def files(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if path.is_file()]


@pytest.mark.engines
def test_a_planted_secret_is_in_no_file_of_the_home(reviewed: Path) -> None:
    assert len(files(reviewed)) > 50
    for path in files(reviewed):
        assert PLANTED.encode() not in path.read_bytes(), path
    with closing(sqlite3.connect(reviewed / "mlflow" / "mlflow.db")) as connection:
        assert PLANTED not in "\n".join(connection.iterdump())


@pytest.mark.engines
def test_no_file_of_the_home_is_a_pickle(reviewed: Path) -> None:
    for path in files(reviewed):
        assert path.suffix not in (".pkl", ".pickle", ".joblib", ".cloudpickle"), path
        assert not is_pickle(path.read_bytes()), path
    models = list(reviewed.rglob("MLmodel"))
    assert models
    assert all("model_code_path" in path.read_text() for path in models)
    assert not any("python_model:" in path.read_text() for path in models)


def is_pickle(content: bytes) -> bool:
    """Whether all of it is one pickle of protocol 2 or later."""
    if content[:1] != b"\x80":
        return False
    try:
        *_, (last, _, _) = pickletools.genops(content)
    except ValueError:
        return False
    return last.name == "STOP"


def test_the_test_knows_a_pickle_when_it_sees_one() -> None:
    assert is_pickle(b"\x80\x04K\x01.")
    assert not is_pickle(b"PAR1")


@pytest.mark.engines
@pytest.mark.parametrize(
    "address",
    [
        f"postgresql+psycopg://causeway:{PLANTED}@127.0.0.1:1/mlflow",
        f"http://causeway:{PLANTED}@127.0.0.1:1",
        f"nonsense://causeway:{PLANTED}@host/db",
    ],
)
def test_the_password_of_a_store_is_in_no_error(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 1)  # it would try for 100 s
    place = Profile(name="shared", home=tmp_path, mlflow_uri=address)
    with pytest.raises(PlatformError) as caught, tracking.store(place):
        pass
    said = f"{caught.value} {caught.value.as_dict()}"
    assert PLANTED not in said
    assert caught.value.code == "mlflow_store"


CONFINED = """\
study: s
sources: {{t: {{table: "{table}"}}}}
units: {{sql: "SELECT id, d, y, x FROM t", id: id}}
treatments: {{d: binary}}
outcomes: {{y: continuous}}
covariates: [x]
effects: [{{method: plr}}]
"""


@pytest.mark.parametrize(
    "table",
    ["{lake}/../../secret", "/etc", "secret", "file:///etc", "{lake}/%2e%2e/%2e%2e/secret", "link"],
)
def test_a_source_outside_the_allowed_roots_is_refused(
    tmp_path: Path, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / "lake").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    monkeypatch.chdir(tmp_path)
    if table == "link":
        (home / "lake" / "link").symlink_to(tmp_path / "secret")
        table = "{lake}/link"
    if "%2e" in table:
        table = f"file://{home}/lake/%2e%2e/%2e%2e/secret"
    place = Profile(name="local", home=home, allowed_roots=[])
    study = parse_study(CONFINED.format(table=table), Path("s.yaml"))
    loaded = LoadedStudy(study, Path("s.yaml"), CONFINED.format(table=table))
    with pytest.raises(StudyError) as caught:
        resolve.resolve(loaded, sample.span("all"), place)
    assert "below" in str(caught.value)


@pytest.mark.parametrize("name", ["../up", "a/b", "..", "/abs", "A", "", "a:b", "a b", "x" * 64])
def test_a_studys_name_is_no_path(name: str) -> None:
    text = CONFINED.format(table="{lake}/t").replace("study: s", f"study: {name!r}")
    with pytest.raises(StudyError):
        parse_study(text, Path("s.yaml"))


@pytest.mark.engines
def test_reviewing_writes_nothing_outside_the_home(tmp_path: Path) -> None:
    home, beside = tmp_path / "home", tmp_path / "beside"
    beside.mkdir()
    (beside / "file").write_text("mine")
    before = fingerprint(tmp_path, home)
    recorded = windows.record(home, "2013-01")
    register.run(recorded.resolved, recorded.estimate, recorded.profile)
    decide(recorded.profile, windows.study().study, Ruling(ATE, PROMOTED, "good", "Ada"))
    assert fingerprint(tmp_path, home) == before


def fingerprint(root: Path, without: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and without not in path.parents
    }


def test_every_error_of_the_tree_can_be_shown_without_its_cause() -> None:
    """A cause may hold a connection string; it is chained, never printed."""
    error = CausewayError("cannot open", code="x")
    error.__cause__ = ValueError(PLANTED)
    assert PLANTED not in f"{error} {error.as_dict()}"
