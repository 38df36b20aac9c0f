"""From the sections of a cluster file to the model, one module a section."""
