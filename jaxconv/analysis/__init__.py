"""What a net is, read from its jaxpr; and what is true on the device at hand: checks and measurements of the engine."""
