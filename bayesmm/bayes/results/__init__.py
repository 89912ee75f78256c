"""What is read off draws: tables, predictions, diagnostics, leaving out."""
