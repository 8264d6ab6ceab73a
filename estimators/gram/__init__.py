"""Gram engine: linear nuisances, and hundreds of effects, from sums of products of columns.

Where new code goes: a kind of basis column in `terms` and `evaluate` (and `pinning`, if it is to
be chosen by default); what a row adds to the sums in `accumulate`; what is read off the sums in
`ridge` (coefficients), `moments` (effects), `scores` (what a second pass adds) and `inference`.
"""
