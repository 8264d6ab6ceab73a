"""MLflow's pages on the record, and Prefect's on the flows, until Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from conf.profile import Profile
from estimators.errors import PlatformError, Where
from jobs.pages.tracking import artifact_root, is_server, store, without_password
from pipelines.ports import HOST, claim

_SECONDS_TO_START = 120
_SECONDS_TO_STOP = 10
_MLFLOW = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
_LEASES = "prefect.server.concurrency.lease_storage.filesystem"
_PREFECT = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # Runs older than 90 days go, with their logs and artifacts; by default only events do.
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "true",
    # In memory, the default, a restart loses them, and the slot of a run that died is never free.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": _LEASES,
}


def serve(profile: Profile, *, port: int, prefect: bool, prefect_port: int) -> None:
    """Start the servers, say where they are, and wait.

    Parameters
    ----------
    port, prefect_port
        Where to listen on 127.0.0.1; 0 takes any free port.
    prefect
        Start Prefect's server too.

    Raises
    ------
    PlatformError
        A port is taken, or a server ended.
    """
    with contextlib.ExitStack() as running:
        servers = {}
        if is_server(profile):
            shown = without_password(profile.mlflow_address)
            _say(f"MLflow   {shown}  (the profile's server, already running)")
        else:
            servers["MLflow"] = running.enter_context(_mlflow(profile, claim(port, "--port")))
        if prefect:
            chosen = claim(prefect_port, "--prefect-port")
            servers["Prefect"] = running.enter_context(_prefect(profile, chosen))
        if servers:
            _say("Ctrl-C stops it." if len(servers) == 1 else "Ctrl-C stops both.")
            _wait(servers)


@contextlib.contextmanager
def _mlflow(profile: Profile, port: int) -> Iterator[subprocess.Popen[bytes]]:
    with store(profile):  # migrates a fresh store, finds the artifacts of a home that was moved
        pass
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
        *("--default-artifact-root", artifact_root(profile).as_uri()),
        *("--host", HOST, "--port", str(port)),
    ]
    address = f"http://{HOST}:{port}"
    # Not on the command line, which every user of the machine can read: it may hold a password.
    settings = _MLFLOW | {"MLFLOW_BACKEND_STORE_URI": profile.mlflow_address}
    with _server("MLflow", command, settings, f"{address}/health", profile.home) as server:
        # Without workflowType a new browser opens an empty page for language models.
        _say(f"MLflow   {address}/#/experiments?workflowType=machine_learning")
        yield server


@contextlib.contextmanager
def _prefect(profile: Profile, port: int) -> Iterator[subprocess.Popen[bytes]]:
    address = f"http://{HOST}:{port}"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", HOST]
    command += ["--port", str(port)]
    home = {"PREFECT_HOME": str(profile.home / "prefect"), "PREFECT_UI_API_URL": f"{address}/api"}
    health = f"{address}/api/health"
    with _server("Prefect", command, _PREFECT | home, health, profile.home) as server:
        _say(f"Prefect  {address}/v2/")
        _say(f"         export PREFECT_API_URL={address}/api  shows the next runs there")
        yield server


@contextlib.contextmanager
def _server(
    name: str, command: list[str], settings: Mapping[str, str], health: str, home: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a process group of its own, its output in the home's logs, stopped on leaving."""
    log = home / "logs" / f"{name.lower()}-server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | settings,
            start_new_session=True,
        )
    try:
        _await_health(name, process, health, log)
        yield process
    finally:
        _stop(process)


def _await_health(name: str, process: subprocess.Popen[bytes], health: str, log: Path) -> None:
    deadline = time.monotonic() + _SECONDS_TO_START
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(health, timeout=5).close()  # noqa: S310 - our own address
            return
        time.sleep(0.3)
    raise PlatformError(
        f"the {name} server did not start",
        code="server_start",
        where=Where(file=str(log)),
        remedy="read that log; `causeway doctor` checks ports, disk and memory",
    )


def _wait(servers: Mapping[str, subprocess.Popen[bytes]]) -> None:
    while True:
        for name, process in servers.items():
            if process.poll() is not None:
                raise PlatformError(
                    f"the {name} server ended with code {process.returncode}",
                    code="server_ended",
                    remedy="read its log under the home's `logs`, then start it again",
                )
        time.sleep(0.5)


def _stop(process: subprocess.Popen[bytes]) -> None:
    for how in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_SECONDS_TO_STOP)
            return


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
