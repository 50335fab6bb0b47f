"""The published nets in torch are modules of torch: without it pytest has nothing to look at in them."""

import importlib.util

collect_ignore = [] if importlib.util.find_spec("torch") else ["torch_nets"]
