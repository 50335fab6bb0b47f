"""The engine under any JAX program."""
