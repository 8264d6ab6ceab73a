"""Write the study's JSON schema: ``python -m conf.schema``; ``--check`` only compares it."""

from __future__ import annotations

import sys

from conf.schema import SCHEMA_PATH, render

if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        if SCHEMA_PATH.read_text(encoding="utf-8") != render():
            sys.exit(f"{SCHEMA_PATH} is not what conf/study.py says -> python -m conf.schema")
    else:
        SCHEMA_PATH.write_text(render(), encoding="utf-8")
