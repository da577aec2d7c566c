"""A model served over HTTP: memcore's own protocol and the images API, for audits of a model that runs elsewhere."""
