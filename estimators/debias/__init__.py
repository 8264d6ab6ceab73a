"""Effects on predicted outcomes: corrections for the shrinkage of predictions, and their gate.

Source: Pettersson, Jerzak and Daoud 2025, *Debiasing Machine Learning Predictions for Causal
Inference Without Additional Ground Truth Data: "One Map, Many Trials"*, arXiv 2508.01341.
"""
