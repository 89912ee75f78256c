"""The criterion, and all that follows from one elimination."""
