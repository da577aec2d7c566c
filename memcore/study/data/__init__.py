"""The images that a study trains on, and the sets that it draws of them."""
