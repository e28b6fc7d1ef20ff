from __future__ import annotations

import numpy as np
import torch

from training.draws import Draws
from training.texture import COLOURFUL, texture_of, textured


def noise(size: int = 6, height: int = 16, width: int = 12) -> torch.Tensor:
    return torch.randn(size, 4, height, width, generator=torch.Generator().manual_seed(0))


def test_texture_equals_a_naive_filter_of_the_spectrum() -> None:
    white, fall = noise(2), torch.tensor([0.7, 1.8])
    found = texture_of(white, fall).numpy()
    for image in range(2):
        own = white[image].double().numpy()
        filtered = np.zeros((3, 16, 12))
        for channel in range(3):
            spectrum = np.fft.fft2(own[0] + COLOURFUL * own[1 + channel])
            for row, y in enumerate(np.fft.fftfreq(16)):
                for column, x in enumerate(np.fft.fftfreq(12)):
                    spectrum[row, column] /= max(np.hypot(y, x), 1 / 16) ** float(fall[image])
            filtered[channel] = np.fft.ifft2(spectrum).real
        expected = (filtered - filtered.min()) / (filtered.max() - filtered.min())
        np.testing.assert_allclose(found[image], expected, atol=1e-5)


def test_textures_fill_the_range_and_a_steeper_fall_is_smoother() -> None:
    rough, smooth = (texture_of(noise(), torch.full((6,), fall)) for fall in (0.5, 2.0))
    for texture in (rough, smooth):
        assert torch.equal(texture.amin((1, 2, 3)), torch.zeros(6))
        assert torch.equal(texture.amax((1, 2, 3)), torch.ones(6))
    jump_rough, jump_smooth = (t.diff(dim=3).abs().mean((1, 2, 3)) for t in (rough, smooth))
    assert (jump_smooth < 0.7 * jump_rough).all()


def test_black_becomes_the_texture_and_white_its_negative() -> None:
    x = torch.zeros(8, 3, 16, 16)
    on_black = textured(x, Draws(torch.Generator().manual_seed(3)), 1.0)
    on_white = textured(1.0 - x, Draws(torch.Generator().manual_seed(3)), 1.0)
    torch.testing.assert_close(on_white, 1.0 - on_black)
    assert (on_black.flatten(1).std(1) > 0).all()
