"""The numbers pushed through the plan."""
