"""Files of results: what those of fits and of posteriors share."""
