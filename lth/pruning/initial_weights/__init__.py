"""Initial weights of masked networks, drawn in place: distributions, orthogonal constructions, weights with biases.

Each function takes the network, its masks and a seed. The masks name the weights that are drawn.
"""
