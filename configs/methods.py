"""The `model` section of each yardstick: the keywords of its method's constructor.

A configuration's `model` section is KAnoCLIP's (configs/base.py). A row of another
method brings its own, whole.
"""

# No text and no training: kanoclip_jax/models/median.py.
MEDIAN = {
    "taps": "",  # blocks, from 1; empty is depth · {1, 2, 3, 4} // 4
    "sigma": 4.0,  # of the maps' Gaussian, in pixels
}

# Two vectors for each tap and two for the image: kanoclip_jax/models/probe.py.
PROBE = {
    "vv_start": 0,  # first V-V block, from 1; 0 is depth // 4
    "taps": "",  # blocks of both paths
    "temperature": 0.07,
    "sigma": 4.0,
    "focal_gamma": 2.0,
}
