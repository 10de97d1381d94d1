"""Adversarial pictures within a small radius of the true one, through captum.

The radius is counted in levels of the unnormalised picture (2 stands for 2/255), steps are projected and clipped there,
and every network is attacked with its own gradients. Those of a fake-quantised network pass straight through its
roundings, so that int8 is attacked like float32.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgelane.errors import EdgelaneError
from edgelane.preprocessing import Preprocessing
from edgelane.tasks import IGNORED

METHODS = ("fgsm", "pgd", "transfer")
RADII = (2, 4)
PGD_STEPS = 5


@dataclass(frozen=True)
class Attack:
    """One attack: "fgsm", "pgd" or "transfer" with a `radius` in levels of 255; `label` is "pgd/2" and the like.

    fgsm: one step of the whole radius along the sign of the loss's gradient (Goodfellow, Shlens and Szegedy, 2015,
    "Explaining and Harnessing Adversarial Examples"). pgd: PGD_STEPS steps of half the radius from a random point in
    it, each projected back (Madry, Makelov, Schmidt, Tsipras and Vladu, 2018, "Towards Deep Learning Models Resistant
    to Adversarial Attacks"). transfer: pgd against the reference network, shown to all: it tells a network that is
    harder to fool from one whose roundings only spoil its gradients.
    """

    method: str
    radius: float

    def __post_init__(self) -> None:
        if self.method not in METHODS or not 0 < self.radius <= 255:
            raise EdgelaneError(
                f"expected an attack by {' or '.join(METHODS)} with a radius above 0 and up to 255 levels, "
                f"found {self.method!r} with {self.radius!r}"
            )

    @property
    def label(self) -> str:
        """Method and radius, as recipes and reports write them."""
        return f"{self.method}/{self.radius:g}"

    def __call__(self, model: PixelModel, pictures: Tensor, targets: Tensor, seed: int = 0) -> Tensor:
        """Pictures that raise the model's loss: float32 [n, 3, h, w] in 0..1, at most radius / 255 from `pictures`.

        `targets`: int64 [n] classes, or [n, h, w] with 255 where a pixel does not count. `seed` starts pgd's random
        point. The model is put into evaluation mode.
        """
        from captum.robust import FGSM, PGD

        model.eval()
        radius = self.radius / 255
        with warnings.catch_warnings(), torch.enable_grad(), torch.random.fork_rng(_cuda_devices(pictures)):
            warnings.simplefilter("ignore")  # captum tells of every input that it makes require gradients
            torch.manual_seed(seed)
            if self.method == "fgsm":
                attack = FGSM(model, _losses, lower_bound=0.0, upper_bound=1.0)
                attack.zero_thresh = 0.0
                moved = attack.perturb(pictures.detach(), epsilon=radius, target=targets)
            else:
                attack = PGD(model, _losses, lower_bound=0.0, upper_bound=1.0)
                attack.fgsm.zero_thresh = 0.0  # captum takes gradients below 1e-6 for none: most of a sure network's
                moved = attack.perturb(
                    pictures.detach(),
                    radius=radius,
                    step_size=radius / 2,
                    step_num=PGD_STEPS,
                    target=targets,
                    random_start=True,
                )
        found: Tensor = moved.detach()
        return found


ALL = tuple(Attack(method, radius) for method in METHODS for radius in RADII)


def choose(wanted: Sequence[str | Attack]) -> list[Attack]:
    """The attacks of that name: "pgd" stands for all of RADII, "pgd/2" for one radius of any size, "all" for ALL.

    Raises EdgelaneError for an unknown name.
    """
    found: list[Attack] = []
    for entry in wanted:
        if isinstance(entry, Attack):
            matches = [entry]
        else:
            method, _, radius = entry.partition("/")
            try:
                matches = [Attack(method, float(radius))] if radius else [a for a in ALL if method in (a.method, "all")]
            except ValueError:
                matches = []
            if not matches:
                raise EdgelaneError(
                    f"unknown attack {entry!r}; expected all or one of {', '.join(METHODS)}, "
                    "alone or with a radius: pgd/2"
                )
        found += [attack for attack in matches if attack not in found]
    return found


class PixelModel(nn.Module):
    """`model` behind its normalisation: takes pictures float32 [n, 3, h, w] in 0..1."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
        self.model = model
        self.register_buffer("mean", torch.tensor(preprocessing.mean, device=device)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std, device=device)[:, None, None], persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """What the network answers to `pictures`."""
        answer: Tensor = self.model((pictures - self.mean) / self.std)
        return answer


def _losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """What the attack raises, one number per picture, [n].

    Classification: the log of the wrong classes' odds. The cross-entropy is log(1 + odds), so the gradients of both
    have one sign, but that of the cross-entropy vanishes where a network is sure, and with it the attack. Segmentation:
    the cross-entropy summed over the labelled pixels, in float64 for the same reason.
    """
    if outputs.dim() == 2:
        own = targets[:, None]
        others = outputs.float().scatter(1, own, -torch.inf).logsumexp(1)
        return others - outputs.float().gather(1, own)[:, 0]
    losses = functional.cross_entropy(outputs.double(), targets, reduction="none", ignore_index=IGNORED)
    return losses.flatten(1).sum(1)


def _cuda_devices(tensor: Tensor) -> list[int]:
    return [] if tensor.device.type != "cuda" else [tensor.device.index or 0]
