"""What a design can find: power and precision by simulation, as the data grow."""
