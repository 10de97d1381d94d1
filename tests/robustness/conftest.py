import torch

torch.set_num_threads(1)  # the networks are tiny: more threads gain nothing
