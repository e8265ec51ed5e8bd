"""The Conv-Adapter: a bottleneck that aligns the image feature with the text (eq. 11)."""

import flax.linen as nn
from jaxtyping import Array, Float


class ConvAdapter(nn.Module):
    """`W_up · ReLU(depthwise(W_down · LN(I)))`, added to I by default.

    On one vector a depthwise convolution with zero padding keeps its centre weight
    only, which is a factor for each channel.

    Attributes:
        reduction: width over bottleneck width.
        residual: add the input, with `W_up` starting at zero; False is eq. 11 as
            printed, which forgets CLIP's alignment at the first step.
        spatial: also convolve the last tap's patch grid, depthwise 3 × 3, in the same
            bottleneck and add its mean to the vector's hidden state.
    """

    reduction: int = 4
    residual: bool = True
    spatial: bool = False

    @nn.compact
    def __call__(
        self, image: Float[Array, "b d"], patches: Float[Array, "b n d"]
    ) -> Float[Array, "b d"]:
        """Adapt the image feature.

        Args:
            image: CLIP's image feature, not normalised.
            patches: the last tap's tokens in the joint space; read if `spatial`.
        """
        width = image.shape[-1]
        bottleneck = max(width // self.reduction, 1)
        norm, down = nn.LayerNorm(name="norm"), nn.Dense(bottleneck, name="down")
        depthwise = self.param("depthwise", nn.initializers.ones, (bottleneck,))
        hidden = nn.relu(down(norm(image)) * depthwise)
        if self.spatial:
            side = round(patches.shape[1] ** 0.5)
            grid = down(norm(patches)).reshape(-1, side, side, bottleneck)
            convolve = nn.Conv(
                bottleneck, (3, 3), feature_group_count=bottleneck, name="window"
            )
            hidden += nn.relu(convolve(grid)).mean((1, 2))
        init = (
            nn.initializers.zeros if self.residual else nn.initializers.lecun_normal()
        )
        adapted = nn.Dense(width, kernel_init=init, name="up")(hidden)
        return image + adapted if self.residual else adapted
