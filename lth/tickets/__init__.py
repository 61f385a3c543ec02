"""Tickets: masks, the weights to train from, and their provenance."""

from lth.tickets.from_ticket import ends_of_ticket, from_ticket
from lth.tickets.ticket import Ticket

__all__ = ["Ticket", "ends_of_ticket", "from_ticket"]
