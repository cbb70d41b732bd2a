"""How each model API names models, streams, authenticates and says no: one table a dialect."""
