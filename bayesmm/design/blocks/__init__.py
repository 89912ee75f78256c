"""Random effects as labelled blocks: levels, memberships, names, and what is refused."""
