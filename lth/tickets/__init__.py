"""Tickets: masks, the weights to start from, and where they came from."""

from lth.tickets.ticket import Ticket

__all__ = ["Ticket"]
