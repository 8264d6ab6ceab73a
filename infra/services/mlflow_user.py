"""Make a user of MLflow: `mlflow_user.py ADDRESS NAME`. One that can log in already stays.

The administrator's password comes from MLFLOW_AUTH_ADMIN_PASSWORD, the new user's from
MLFLOW_TRACKING_PASSWORD or, where that is unset, from the terminal: never from the command line,
which every user of the machine can read.
"""

from __future__ import annotations

import base64
import getpass
import json
import os
import sys
import time
import urllib.error
import urllib.request

SECONDS_TO_START = 180


def call(address: str, user: str, password: str, body: dict[str, str] | None = None) -> int:
    """Status of a request as a user; 0 where nobody answers."""
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(address, data, headers)  # noqa: S310 - the caller's server
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


def main(address: str, name: str) -> str:
    """What went wrong, empty where nothing did."""
    admin = os.environ["MLFLOW_AUTH_ADMIN_PASSWORD"]
    password = os.environ.get("MLFLOW_TRACKING_PASSWORD") or getpass.getpass(f"{name}'s password: ")
    deadline = time.monotonic() + SECONDS_TO_START
    version = f"{address}/version"
    while not (status := call(version, name, password)) and time.monotonic() < deadline:
        time.sleep(1)
    if status == 200:  # noqa: PLR2004 - HTTP's
        return ""
    made = call(
        f"{address}/api/2.0/mlflow/users/create",
        "admin",
        admin,
        {"username": name, "password": password},
    )
    return "" if made == 200 else f"MLflow answered {made or 'nothing'}"  # noqa: PLR2004


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) or 0)
