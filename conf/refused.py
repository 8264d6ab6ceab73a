"""What the unit SQL may not call, as data: a name and the reason.

The same rows must come out of the same pinned tables, on any machine, at any time. This list
serves early and friendly messages; the guard is Spark's parsed plan (`jobs`).
"""

from __future__ import annotations

_CHANCE = "it gives other values each time"
_CLOCK = "it reads the clock; use :window_start and :window_end"
_SESSION = "it depends on who runs the study and where"
_LAYOUT = "it depends on how the files and partitions lie"
_ORDER = "it depends on the order of the rows; use min or max"
_CODE = "it runs code from outside SQL"
_FILES = "it reads what is not a declared source"

_BY_REASON = {
    _CHANCE: "rand random randn randstr uniform uuid shuffle",
    _CLOCK: "current_date curdate current_timestamp current_time localtimestamp now",
    _SESSION: (
        "current_user user session_user current_database current_schema current_catalog "
        "current_timezone version is_member is_account_group_member"
    ),
    _LAYOUT: (
        "monotonically_increasing_id spark_partition_id input_file_name "
        "input_file_block_start input_file_block_length"
    ),
    _ORDER: "first last any_value",
    _CODE: "reflect try_reflect java_method ai_query http_request",
    _FILES: (
        "read_files read_kafka read_kinesis read_pubsub read_pulsar read_statestore cloud_files "
        "list_secrets secret try_secret table_changes remote_query"
    ),
}

REFUSED: dict[str, str] = {
    name: reason for reason, names in _BY_REASON.items() for name in names.split()
}
"""Functions that the unit SQL may not call, with the reason."""

REFUSED_WITHOUT_ARGUMENT: dict[str, str] = {"unix_timestamp": _CLOCK}
"""Functions refused only as ``name()``."""

REFUSED_BARE = frozenset(
    {
        "current_date",
        "current_timestamp",
        "current_time",
        "current_user",
        "session_user",
        "localtimestamp",
    }
)
"""Refused names that SQL lets one write without parentheses."""

ALLOWED_OVER_WINDOW = frozenset({"first", "last", "any_value"})
"""Refused as aggregates only: over an ordered window they have one value."""

SPECIAL_TIMES = frozenset({"now", "today", "yesterday", "tomorrow"})
"""Texts that a DATE or TIMESTAMP literal turns into the clock."""

CLOCKS = frozenset(name for name, reason in REFUSED.items() if reason == _CLOCK)
"""The refused names that read the clock; a watermark may."""
