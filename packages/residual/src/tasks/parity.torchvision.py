"""torchvision_oracle.py for many networks in one process, one after another: parity.torchvision.py ORACLES

Each line of the input is `ARCH FOLDER [OPTION …]`; a line of the output says that the folder has been filled. Beside
what the oracle writes is FOLDER/exact.safetensors: the same stages computed in float64, rounded once."""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import safetensors_io
import torch
import torchvision_oracle as oracle

output, sys.stdout = sys.stdout, open(os.devnull, 'w')
computed = []


def stages(model, x):
    """As the oracle computes them, and once more in float64."""
    found = oracle_stages(model, x)
    exact = oracle_stages(model.double(), x.double())
    model.float()
    computed.append({name: value.float() for name, value in exact.items()})
    return found


oracle_stages, oracle.stages = oracle.stages, stages
for line in sys.stdin:
    arch, folder, *options = line.split()
    sys.argv = ['torchvision_oracle.py', arch, folder, *options]
    oracle.main()
    safetensors_io.save(os.path.join(folder, 'exact.safetensors'), computed.pop())
    print(arch, file=output, flush=True)
