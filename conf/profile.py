"""Where a study runs: one machine or a cluster. The only module that reads the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator

from conf.document import MAX_BYTES, read_document
from conf.study import Section
from estimators.errors import PlatformError, Where

_PROFILES = Path(__file__).parent / "profiles"


class Spark(Section):
    """Spark session: a master URL or a Connect address, and settings."""

    master: str = "local[2]"
    memory: str = "2g"
    settings: dict[str, str] = Field(default_factory=dict)


class Ray(Section):
    """Ray: `local` starts one of its own; anything else is an address."""

    address: str = "local"
    num_cpus: int | None = Field(
        None, ge=1, description="Omitted: this machine's. Of a cluster: those of all its nodes."
    )
    cpus_per_task: int = Field(1, ge=1)
    gpus_per_task: float = Field(1.0, gt=0, description="Share of a GPU a task takes (cuda).")
    memory_per_task: int | None = Field(
        None, ge=1, description="Bytes a fit may take; bins that do not fit stay on disk."
    )
    object_store_memory: int = Field(500_000_000, ge=78_643_200)
    inline_below: int = Field(
        50_000, ge=0, description="Studies with fewer rows x repetitions are fitted without Ray."
    )


class Retention(Section):
    """What `causeway maintain` keeps."""

    days: int = Field(
        30, ge=0, description="Files that no pinned version needs are kept so many days."
    )
    small_files: int = Field(
        20, ge=2, description="Tables of ours with more files than this are compacted."
    )


class Prefect(Section):
    """Where `causeway deploy` puts schedules: a work pool with a queue for each kind of work."""

    work_pool: str = "causeway"
    queue: str = Field("scheduled", description="Scheduled runs; before backfills.")
    backfill_queue: str = "backfills"
    running: int = Field(1, ge=1, description="Flows of the pool that run at a time.")
    silent_after: int = Field(
        600,
        ge=60,
        description="Seconds without a sign of life after which a flow is marked as crashed; its"
        " heartbeats are 180 apart.",
    )


class Profile(Section):
    """A place to run."""

    name: str
    home: Path
    lake: str = "{home}/lake"
    allowed_roots: list[str] = Field(default_factory=lambda: ["/"])
    engines: Literal["sequential", "together"] = "sequential"
    spark: Spark = Spark()
    ray: Ray = Ray()
    prefect: Prefect = Prefect()
    grams: Literal["ray", "spark"] = Field(
        "ray", description="Who sums the blocks of `learner: gram`; `spark`: the executors."
    )
    device: Literal["cpu", "cuda"] = "cpu"
    mlflow_uri: str = "sqlite:///{home}/mlflow/mlflow.db"
    scores_max_rows: int = Field(1_000_000, ge=0)
    retention: Retention = Retention(days=30, small_files=20)

    @field_validator("lake", "mlflow_uri", "allowed_roots")
    @classmethod
    def _known_placeholders(cls, given: str | list[str]) -> str | list[str]:
        known = ("{home}",) if isinstance(given, str) else ("{home}", "{lake}")
        for text in [given] if isinstance(given, str) else given:
            left = text
            for each in known:
                left = left.replace(each, "")
            if "{" in left or "}" in left:  # the text itself may hold a password
                raise ValueError(f"a placeholder that is not {' or '.join(known)}")
        return given

    @property
    def lake_root(self) -> str:
        """Root of the users' tables: what ``{lake}`` stands for."""
        return self.lake.replace("{home}", str(self.home))

    @property
    def record_root(self) -> str:
        """Root of the record's tables."""
        return f"{self.home}/record"

    @property
    def features_root(self) -> str:
        """Root of the features tables, one a study."""
        return f"{self.home}/features"

    @property
    def mlflow_address(self) -> str:
        """The tracking URI, with the home filled in."""
        return self.mlflow_uri.replace("{home}", str(self.home))


def home() -> Path:
    """``CAUSEWAY_HOME``, or ``.causeway`` in the working directory; absolute."""
    given = os.environ.get("CAUSEWAY_HOME") or ".causeway"
    return Path(os.path.realpath(os.path.expanduser(given)))  # no error for a link to itself


def debug() -> bool:
    """``CAUSEWAY_DEBUG``: show the traceback of an error beside its message."""
    return os.environ.get("CAUSEWAY_DEBUG", "") not in ("", "0")


def prefect_server() -> str:
    """``PREFECT_API_URL``: address of a Prefect server, empty where none is named."""
    return os.environ.get("PREFECT_API_URL", "")


def webhook() -> str:
    """``CAUSEWAY_WEBHOOK_URL``: where alerts are posted, empty for nowhere. It is a secret."""
    return os.environ.get("CAUSEWAY_WEBHOOK_URL", "")


def settle(settings: Mapping[str, str]) -> None:
    """Set variables that engines read while they are imported; the user's own values stay."""
    for name, value in settings.items():
        os.environ.setdefault(name, value)


def load_profile(name: str | None = None) -> Profile:
    """Read a profile by name (``conf/profiles``) or path; ``CAUSEWAY_PROFILE``, else ``local``.

    Raises
    ------
    PlatformError
        The profile does not exist or is invalid.
    """
    name = name or os.environ.get("CAUSEWAY_PROFILE") or "local"
    path = Path(name) if name.endswith((".yaml", ".yml")) else _PROFILES / f"{name}.yaml"
    if not os.path.isfile(path):
        known = ", ".join(sorted(each.stem for each in _PROFILES.glob("*.yaml")))
        raise PlatformError(
            f"no profile {name!r}",
            code="no_profile",
            where=Where(file=str(path)),
            remedy=f"choose one of {known}, or give the path of a YAML file",
        )
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise _invalid(f"it cannot be read: {error}", path) from error
    document, faults = read_document(text, str(path))
    if faults:
        raise _invalid(faults[0].found, path, faults[0].where.line)
    try:
        return Profile.model_validate({"name": path.stem, "home": home(), **document.data})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = tuple(first["loc"])
        words = f"`{'.'.join(map(str, place))}`: {first['msg']}"
        raise _invalid(words, path, document.line(place)) from None


def _invalid(words: str, path: Path, line: int | None = None) -> PlatformError:
    return PlatformError(
        f"the profile is invalid: {words}",
        code="bad_profile",
        where=Where(file=str(path), line=line),
        remedy="see conf/profile.py for what a profile holds",
    )
