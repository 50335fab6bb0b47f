"""Checks of the engine on this device and these versions."""
