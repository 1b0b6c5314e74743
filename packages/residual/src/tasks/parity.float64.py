"""What torchvision's network computes in float64, rounded once: parity.float64.py ARCH FOLDER

Reads FOLDER/ARCH.safetensors and the input in FOLDER/expected.safetensors; writes FOLDER/exact.safetensors with the
stages that expected.safetensors has."""
import json
import os
import struct
import sys

import numpy as np
import torch
import torchvision


def read(path):
    with open(path, 'rb') as file:
        header = json.loads(file.read(struct.unpack('<Q', file.read(8))[0]))
        data = file.read()
    kinds = {'F32': np.float32, 'I64': np.int64}
    return {
        name: np.frombuffer(data[slice(*entry['data_offsets'])], kinds[entry['dtype']]).reshape(entry['shape']).copy()
        for name, entry in header.items()
        if name != '__metadata__'
    }


def write(path, tensors):
    header, offset = {}, 0
    for name, tensor in tensors.items():
        header[name] = {'dtype': 'F32', 'shape': tensor.shape, 'data_offsets': [offset, offset + tensor.nbytes]}
        offset += tensor.nbytes
    text = json.dumps(header).encode()
    with open(path, 'wb') as file:
        file.write(struct.pack('<Q', len(text)) + text)
        for tensor in tensors.values():
            file.write(tensor.tobytes())


arch, folder = sys.argv[1:]
torch.set_num_threads(os.cpu_count())
model = getattr(torchvision.models, arch)()
weights = read(os.path.join(folder, arch + '.safetensors'))
model.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in weights.items()})
model = model.double().eval()
found = {}
with torch.no_grad():
    x = torch.from_numpy(read(os.path.join(folder, 'expected.safetensors'))['input']).double()
    x = found['stem'] = model.maxpool(model.relu(model.bn1(model.conv1(x))))
    for stage in ['layer1', 'layer2', 'layer3', 'layer4']:
        x = found[stage] = getattr(model, stage)(x)
    x = found['pooled'] = torch.flatten(model.avgpool(x), 1)
    found['logits'] = model.fc(x)
write(os.path.join(folder, 'exact.safetensors'), {name: x.numpy().astype(np.float32) for name, x in found.items()})
