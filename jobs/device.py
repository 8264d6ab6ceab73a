"""Whether a study can run on its profile's device, before anything starts. Nothing falls back."""

from __future__ import annotations

from conf.plan import gram_learner, learner_names
from conf.profile import Profile
from conf.study import Study
from estimators.errors import PlatformError

__all__ = ["check_device", "check_gpus"]


def check_device(study: Study, profile: Profile) -> None:
    """Check that every learner of a study runs on the profile's device, and that it is there.

    A cluster's machines have GPUs that this one need not have: `check_gpus` asks the cluster.

    Raises
    ------
    PlatformError
        ``device``: a learner, or the workers of the profile's `grams`, do not run there;
        ``no_gpu``: there is no such device; ``no_jax``: the Gram engine's package for it is not
        installed.
    """
    if profile.device == "cpu":
        return
    from estimators.learners import check_runs_on

    for name in learner_names(study):
        check_runs_on(name, profile.device)
    if profile.grams == "spark" and gram_learner(study) is not None:
        raise PlatformError(
            "the profile has Spark sum the blocks of `learner: gram`, and GPUs are Ray's",
            code="device",
            remedy="leave `grams` of the profile at `ray`, or set device: cpu",
        )
    if profile.ray.address != "local":
        return
    if gram_learner(study) is None:
        from estimators.learners.boosted import require_cuda
    else:
        from jobs.gram.products import require_cuda
    require_cuda()


def check_gpus(profile: Profile) -> None:
    """Check that the Ray in use has the share of a GPU that a fit asks for; it waits otherwise.

    Raises
    ------
    PlatformError
        ``no_gpu``: no node has it.
    """
    import ray

    share = profile.ray.gpus_per_task
    nodes = [each["Resources"] for each in ray.nodes() if each["Alive"]]
    most = max((each.get("GPU", 0.0) for each in nodes), default=0.0)
    if most < share:
        raise PlatformError(
            f"a fit asks for {share:g} GPU and no node of Ray has more than {most:g}",
            code="no_gpu",
            remedy="start nodes with GPUs, lower `ray.gpus_per_task`, or set device: cpu",
        )
