"""Tickets: masks, the weights to start from, and where they came from."""

from lth.tickets.from_ticket import ends_of_ticket, from_ticket
from lth.tickets.ticket import Ticket

__all__ = ["Ticket", "ends_of_ticket", "from_ticket"]
