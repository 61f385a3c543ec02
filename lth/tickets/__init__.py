"""Tickets: masks, the weights to start from, and where they came from."""

from lth.tickets.from_ticket import from_ticket
from lth.tickets.ticket import Ticket

__all__ = ["Ticket", "from_ticket"]
