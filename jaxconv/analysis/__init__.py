"""What is true on the device and the versions at hand: checks and measurements of the engine."""
