"""Initial weights of masked networks, drawn in place: distributions, orthogonal constructions, weights with biases.

Each is called with the network, its masks and the pruning seed; the masks decide which weights are drawn.
"""
