"""The state of the random number generators."""

import random

import numpy as np
import torch

from ffc_dense.reliability.random_state import kept_random_state, random_state, set_random_state


def draw():
    return random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), *torch.randn(3).tolist()


def test_a_state_that_went_through_a_file_gives_the_same_numbers(tmp_path):
    draw()  # Gaussian draws leave a second number for the next one
    torch.save(random_state(), tmp_path / "state.pth")
    first = draw()
    draw()
    set_random_state(torch.load(tmp_path / "state.pth", weights_only=True))
    assert draw() == first


def test_draws_within_the_context_change_none_after_it():
    before = random_state()
    wanted = draw()
    set_random_state(before)
    with kept_random_state():
        draw()
    assert draw() == wanted
