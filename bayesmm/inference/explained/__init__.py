"""How much a model explains: information criteria, R², shares of variance."""
