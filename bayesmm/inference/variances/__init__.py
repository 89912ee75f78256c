"""Tests of variances, and the report on one near zero."""
