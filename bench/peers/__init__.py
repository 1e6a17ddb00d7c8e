"""Other systems that do the same. They run as programs of their own, in an environment of their own."""
