"""Bad inputs as one table, in files by kind: a world that is spoilt in one way, and its error.

``data`` holds what may be wrong with tables, ``rows`` with what Spark reads from them, ``figures``
with what can be estimated from them, ``environment`` with the machine and ``command_line`` with
what is typed. The kinds of bad studies are a table of their own, ``tests/conf/bad_studies.yaml``.
"""
