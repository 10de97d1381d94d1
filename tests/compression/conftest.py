import torch

# The networks are tiny: more threads gain nothing, and on a busy machine they wait for one another (60 s become 460 s).
torch.set_num_threads(1)
