"""Searching masks over frozen weights (strong tickets): scores, rules that make masks of them, and freezing.

Functions of lists of tensors, one entry for each layer; `lth.modules.ScoreSearch` trains the scores.
"""
