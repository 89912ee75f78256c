"""What follows from a fit: degrees of freedom, tests, profiles, refits, diagnostics; from the same elimination."""
