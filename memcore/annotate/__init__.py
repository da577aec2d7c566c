"""The page on which two people say, blind to each other and to the machine, which findings copy a training image."""
