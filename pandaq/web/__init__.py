"""HTTP only: a request becomes one call of the broker, its answer becomes JSON."""
