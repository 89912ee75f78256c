"""How far effects are pulled together, and what can be said of their order."""
