"""Runs keras_oracle.py for many cases in one process: parity.keras.py ORACLES '[["resnet50", "OUT", "--names", "w"], …]'

Cases that differ only in how their weights are spelled are computed once. The pass that makes the weights computes in
float32: whatever it measures, the second pass takes as given."""
import json
import sys

import numpy as np
import torch

sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import keras_oracle


in_float64 = keras_oracle.Net.t


def once(forward):
    """The first pass over a picture makes the weights, the second computes with them. The picture is drawn from the
    seed, so that equal pictures mean equal weights."""
    known = {}

    def run(weights, x, classes, top):
        making = not weights.layers
        key = x.numpy().tobytes(), classes, top, making
        if key not in known:
            if making:
                keras_oracle.Net.t = lambda _, array: torch.from_numpy(np.asarray(array, dtype=np.float32))
            net = forward(weights, x.float() if making else x, classes, top)
            keras_oracle.Net.t = in_float64
            made = {name: list(parts) for name, parts in weights.layers.items()} if making else None
            known[key] = net, made
        net, made = known[key]
        if making:
            weights.layers = {name: list(parts) for name, parts in made.items()}
        return net

    return run


for name, forward in keras_oracle.FORWARD.items():
    keras_oracle.FORWARD[name] = once(forward)
for case in json.loads(sys.argv[2]):
    sys.argv = ['keras_oracle.py', *case]
    keras_oracle.main()
