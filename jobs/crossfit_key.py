"""The crossfit key of a study on committed features, found without any engine or library."""

from __future__ import annotations

from conf.keys import OWN_LAYOUT, crossfit_key
from conf.plan import gram_learner
from conf.profile import Profile
from jobs.ledger import Stage
from jobs.resolve import Resolved


def crossfit_key_of(resolved: Resolved, features: Stage, profile: Profile) -> str:
    """The key; of a study on the Gram engine, with the layout that the window has pinned."""
    study, layout = resolved.loaded.study, OWN_LAYOUT
    if gram_learner(study) is not None:
        from jobs.gram.layouts import layout_input

        layout = layout_input(resolved, features.digest, profile.record_root)
    return crossfit_key(study, features.digest, profile.device, resolved.calibrations, layout)
