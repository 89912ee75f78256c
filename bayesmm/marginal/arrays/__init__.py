"""What NumPy and JAX do differently, behind one interface, and small matrices, one a level."""
