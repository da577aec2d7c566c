"""Small diffusion models: what attacks know of one, and the models that a study trains."""
