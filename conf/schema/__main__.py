"""Write the study's JSON schema: ``python -m conf.schema``."""

from __future__ import annotations

from conf.schema import SCHEMA_PATH, render

if __name__ == "__main__":
    SCHEMA_PATH.write_text(render(), encoding="utf-8")
