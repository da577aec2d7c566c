"""Services of the machine: files that are written whole, processors, credentials, progress."""
