"""Two studies on a Ray of several nodes, in a process of its own: a JSON object of what came out.

``python -m tests.jobs.on_cluster FOLDER 1,1 [lose]`` starts nodes with so many CPUs each, on the
homes under FOLDER that `write` made; with ``lose`` the last node is killed at its first fit.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from conf.profile import Profile, load_profile
from jobs import crossfit, estimate
from jobs.engines import ray_cluster
from tests.jobs import prebuilt
from tests.jobs.gram import clinic

MONTH = prebuilt.MONTHS[0]
TREES = prebuilt.STUDY.replace(
    "nuisances: {outcome: linear, treatment: linear}",
    "nuisances: {outcome: {learner: xgboost, n_estimators: 400}, treatment: xgboost}\n"
    "cate: {learners: [s, t, x, r, dr], final: xgboost}",
).replace("folds: {k: 3}", "folds: {k: 3, repetitions: 1}")
STUDIES = ("trees", "gram")


def at(home: Path, address: str | None = None) -> Profile:
    """The profile of a home: fits inline, or on the Ray at an address."""
    base = load_profile("local")
    given: dict[str, Any] = {"num_cpus": 2, "inline_below": 10**9}
    if address is not None:
        given = {"address": address, "num_cpus": 2, "inline_below": 0}
    ray = base.ray.model_copy(update=given)
    return base.model_copy(update={"home": home, "engines": "together", "ray": ray})


def write(folder: Path) -> None:
    """Homes whose features are there, one a study."""
    trees, gram = (folder / name for name in STUDIES)
    prebuilt.write_lake(trees, (MONTH,))
    prebuilt.prebuild(prebuilt.write_study(trees, TREES), (MONTH,), at(trees))
    clinic.prebuild(clinic.write(gram, clinic.visits(range(4))), at(gram))


def digests(folder: Path, address: str | None) -> dict[str, list[str]]:
    """Digests of the sums and of the effects, by study."""
    found = {}
    for name in STUDIES:
        home = folder / name
        place = at(home, address)
        if name == "trees":
            resolved = prebuilt.resolved(home / "orders.yaml", MONTH, place)
            built = prebuilt.built(resolved, place)
        else:
            resolved, built = clinic.prebuild(home / "clinic.yaml", place)
        fitted = crossfit.run(resolved, built, place)
        assert fitted.status == "computed"
        found[name] = [fitted.digest, estimate.run(resolved, fitted, place).digest]
    return found


def task_events() -> list[Any]:
    """Ray's notes on all tasks of this driver once each has ended; they come a second late."""
    import ray
    from ray.core.generated import common_pb2

    over = {common_pb2.FINISHED, common_pb2.FAILED}
    deadline, before = time.monotonic() + 30, 0
    while True:
        time.sleep(3.0)  # those of the last second have not come yet
        found = [each for each in ray._private.state.state._get_all_task_events()
                 if each.HasField("task_info")
                 and each.task_info.type == common_pb2.NORMAL_TASK]  # fmt: skip
        ended = [over & set(each.state_updates.state_ts_ns) for each in found]
        settled = 0 < len(found) == before
        if (settled and all(ended)) or time.monotonic() > deadline:
            return found
        before = len(found)


def worked() -> dict[str, list[str]]:
    """Ids of the nodes on which tasks ran, by the tasks' name."""
    nodes: dict[str, set[str]] = defaultdict(set)
    for each in task_events():
        nodes[each.task_info.name].add(each.state_updates.node_id.hex())
    return {name: sorted(each) for name, each in nodes.items()}


def lose(node: Any, lost: list[int]) -> None:
    """Kill a node once a fit runs on it: its raylet, and the workers of that."""
    raylet = node.all_processes["raylet"][0].process.pid
    deadline = time.monotonic() + 240
    while not lost and time.monotonic() < deadline:
        time.sleep(0.02)
        children = list(children_of(raylet))
        if any(title.startswith(b"ray::fit_task") for _, title in children):
            for process in (raylet, *(each for each, _ in children)):
                os.kill(process, signal.SIGKILL)
                lost.append(process)


def children_of(parent: int) -> Iterator[tuple[int, bytes]]:
    """Processes that a process started, with their commands."""
    for each in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int((each / "stat").read_text().rsplit(")", 1)[1].split()[1]) == parent:
                yield int(each.name), (each / "cmdline").read_bytes()


def alive(count: int) -> list[str]:
    """Ids of the nodes that Ray has, once they are so many: it misses a lost one after a while."""
    import ray

    deadline = time.monotonic() + 90
    while True:
        found = sorted(each["NodeID"] for each in ray.nodes() if each["Alive"])
        if len(found) == count or time.monotonic() > deadline:
            return found
        time.sleep(0.5)


def main(folder: Path, cpus: Sequence[int], *, losing: bool) -> dict[str, Any]:
    """Start the nodes, compute, stop them; the last node may be lost meanwhile."""
    with tempfile.TemporaryDirectory(prefix="cw-", dir="/tmp") as scratch:
        os.environ["RAY_TMPDIR"] = scratch  # Ray's notes on running clusters lie there too
        from ray.cluster_utils import Cluster

        given = {"object_store_memory": 100_000_000, "include_dashboard": False}
        cluster = Cluster(shutdown_at_exit=True)
        lost: list[int] = []
        try:
            nodes = [cluster.add_node(num_cpus=count, **given) for count in cpus]
            cluster.wait_for_nodes()
            if losing:
                threading.Thread(target=lose, args=(nodes[-1], lost), daemon=True).start()
            with ray_cluster(at(folder, cluster.address)):
                found = digests(folder, cluster.address)
                told = {"nodes": alive(len(cpus) - losing), "worked": worked(), "lost": len(lost)}
                return {"digests": found, **told}
        finally:
            cluster.shutdown()


if __name__ == "__main__":
    answer = main(
        Path(sys.argv[1]), [int(each) for each in sys.argv[2].split(",")], losing="lose" in sys.argv
    )
    print(json.dumps(answer), flush=True)
    os._exit(0)
