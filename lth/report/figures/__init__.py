"""Pictures of one run and of many, in one style. Functions return matplotlib figures; `save` writes them."""
