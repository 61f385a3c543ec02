"""Searching masks over frozen weights (strong tickets): scores, the masks they make, and what freezes when.

Pure functions of lists of tensors, one entry a layer; `lth.modules.ScoreSearch` trains the scores.
"""
