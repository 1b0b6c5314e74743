/**
 * timm's variants of ResNet written down once more, with torch's functions alone and from the state dict alone, to
 * compare with: `python3 -c PROGRAM LIST`. LIST is JSON, for each network a safetensors file of a state dict in timm's
 * names and of the tensor `input`, and what names cannot tell: groups and antiAlias. Prints a line of JSON for each,
 * the features of each stage and the logits, computed in float64.
 */
export const timmForward = `
import sys, json
import numpy as np, torch
import torch.nn.functional as F

p, aa, cardinality = {}, 'none', 1

def read(path):
    raw = open(path, 'rb').read()
    length = int.from_bytes(raw[:8], 'little')
    header = json.loads(raw[8:8 + length])
    header.pop('__metadata__', None)
    for name, entry in header.items():
        begin, end = entry['data_offsets']
        values = np.frombuffer(raw[8 + length + begin:8 + length + end], '<f4').reshape(entry['shape'])
        p[name] = torch.from_numpy(values.copy()).double()

def conv(x, name, stride=1, groups=1):
    w = p[name + '.weight']
    return F.conv2d(x, w, p.get(name + '.bias'), stride, w.shape[-1] // 2, 1, groups)

def bn(x, name):
    return F.batch_norm(x, p[name + '.running_mean'], p[name + '.running_var'], p[name + '.weight'], p[name + '.bias'],
                        False, 0.0, 1e-5)

def blur(x, stride):
    row = torch.tensor([1., 2., 1.]).double() / 4
    kernel = torch.outer(row, row).expand(x.shape[1], 1, 3, 3)
    pad = (stride - 1 + 2) // 2
    return F.conv2d(F.pad(x, [pad] * 4, mode='reflect'), kernel, None, stride, 0, 1, x.shape[1])

def thin(x, stride):
    return blur(x, stride) if aa == 'blur' else F.avg_pool2d(x, stride)

def attend(x, name):
    if name + '.fc1.weight' in p:
        s = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(conv(F.relu(conv(s, name + '.fc1')), name + '.fc2'))
    if name + '.conv.weight' in p:
        s = x.mean((2, 3)).unsqueeze(1)
        w = p[name + '.conv.weight'].flatten(2)
        s = F.conv1d(s, w, None, 1, w.shape[-1] // 2)
        return x * torch.sigmoid(s).transpose(1, 2).unsqueeze(-1)
    return x

def block(x, name, stride):
    deep = name + '.conv3.weight' in p
    strides = [1, stride, 1] if deep else [stride, 1]
    y = x
    for i, step in enumerate(strides, 1):
        use = aa != 'none' and step == 2
        y = conv(y, '%s.conv%d' % (name, i), 1 if use else step, cardinality if deep and i == 2 else 1)
        y = bn(y, '%s.bn%d' % (name, i))
        if i < len(strides):
            y = F.relu(y)
            if use:
                y = thin(y, step)
    y = attend(y, name + '.se')
    if name + '.downsample.2.weight' in p:
        if stride != 1:
            x = F.avg_pool2d(x, 2, stride, ceil_mode=True, count_include_pad=False)
        x = bn(conv(x, name + '.downsample.1'), name + '.downsample.2')
    elif name + '.downsample.0.weight' in p:
        x = bn(conv(x, name + '.downsample.0', stride), name + '.downsample.1')
    return F.relu(y + x)

def features(x):
    if 'conv1.0.weight' in p:
        x = F.relu(bn(conv(x, 'conv1.0', 2), 'conv1.1'))
        x = F.relu(bn(conv(x, 'conv1.3'), 'conv1.4'))
        x = conv(x, 'conv1.6')
    else:
        x = conv(x, 'conv1', 2)
    x = F.relu(bn(x, 'bn1'))
    if 'maxpool.0.weight' in p:
        x = F.relu(bn(conv(x, 'maxpool.0', 2), 'maxpool.1'))
    elif aa == 'mean':
        x = F.avg_pool2d(x, 2)
    elif aa == 'blur':
        x = blur(F.max_pool2d(x, 3, 1, 1), 2)
    else:
        x = F.max_pool2d(x, 3, 2, 1)
    out = {'stem': x}
    for stage in range(1, 5):
        index = 0
        while 'layer%d.%d.conv1.weight' % (stage, index) in p:
            x = block(x, 'layer%d.%d' % (stage, index), 2 if stage > 1 and index == 0 else 1)
            index += 1
        out['layer%d' % stage] = x
    return out

torch.set_grad_enabled(False)
for network in json.loads(sys.argv[1]):
    p.clear()
    read(network['file'])
    aa, cardinality = network['antiAlias'], network['groups']
    out = features(p['input'])
    out['logits'] = F.linear(out['layer4'].mean((2, 3)), p['fc.weight'], p['fc.bias'])
    print(json.dumps({name: {'shape': list(t.shape), 'data': t.flatten().tolist()} for name, t in out.items()}))
`;
