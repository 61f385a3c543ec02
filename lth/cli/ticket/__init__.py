"""The ticket tool: `python -m lth.ticket show|extract|import|export|compare|apply|treat|thin`."""
