"""Small models of the paper's other systems, trained on planted duplicates: a cascade (Imagen), unCLIP (DALL-E 2)."""
