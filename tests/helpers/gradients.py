import torch


def gradients(layer, x, forward=None):
    """The result, and the gradients of a fixed random projection of it by x and every parameter, by name."""
    layer.zero_grad(set_to_none=True)
    x = x.detach().requires_grad_()
    y = (forward or layer)(x)
    direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y.dtype)
    (y * direction).sum().backward()
    return {"forward": y.detach(), "x": x.grad, **{name: p.grad for name, p in layer.named_parameters()}}
