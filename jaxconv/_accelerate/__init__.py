"""Run the convolutions and pools of any JAX program on the engine."""
