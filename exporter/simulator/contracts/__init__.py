"""The contracts of the simulated org: what a request must look like, and what each endpoint answers."""
