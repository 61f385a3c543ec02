"""Tickets as networks for other programs; each module here writes one format.

All have `write(ticket, path, net, image_shape, **options) -> str`. It writes the masked network, checks that the file
computes the same outputs, and returns a line of text that describes the file.
ticket: masks and starting weights
net: the network the ticket belongs to, with any weights
image_shape: channels, height and width of the network's images
"""
