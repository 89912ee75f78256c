"""Covariance structures of random effects: how the effects of one level of a term covary.

One structure a file; `bayesmm.covariance.table` names them all, `bayesmm.covariance.structure` says what each has to
know. Nothing outside this folder asks which structure it is.
"""
