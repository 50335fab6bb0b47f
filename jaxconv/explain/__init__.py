"""Why a network rejects an input, and which inputs it accepts."""
