#!/usr/bin/env python3
"""Records what PyTorch computes on a photograph, for `residual compare … --against OUT.pth`.

  record-activations.py ARCH WEIGHTS PICTURE OUT.pth [options]

ARCH is one of torchvision's ResNets. OUT.pth holds the input, each stage's result, the pooled features and the logits; with
--blocks each block's, too. The options do one thing as other systems do it:

  --short-side N    resize the short side to N before the crop of 224 (256)
  --tensor          resize a tensor without antialias, not a PIL image
  --stride-1x1      stride on the first 1x1 of a bottleneck (He, Keras), not on the 3x3
  --epsilon E       BatchNorm's epsilon (1e-5)
  --training        forget model.eval(): BatchNorm uses the batch's own statistics
  --classes-as-text put the classes in the order in which their numbers sort as text
"""
import argparse
import numpy as np
import torch
import torchvision
from PIL import Image

parser = argparse.ArgumentParser(usage=__doc__)
for name in ('arch', 'weights', 'picture', 'out'):
    parser.add_argument(name)
parser.add_argument('--short-side', type=int, default=256)
parser.add_argument('--epsilon', type=float)
for name in ('tensor', 'stride-1x1', 'training', 'classes-as-text', 'blocks'):
    parser.add_argument('--' + name, action='store_true')
args = parser.parse_args()

image = Image.open(args.picture).convert('RGB')
width, height = image.size
short = min(width, height)
size = (args.short_side * height // short, args.short_side * width // short)
if args.tensor:
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    x = torch.nn.functional.interpolate(pixels, size, mode='bilinear', align_corners=False) / 255
else:
    x = torch.from_numpy(np.array(image.resize(size[::-1], Image.BILINEAR))).permute(2, 0, 1)[None].float() / 255
top, left = (int(round((side - 224) / 2)) for side in size)
mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
x = (x[..., top:top + 224, left:left + 224] - mean) / deviation

net = getattr(torchvision.models, args.arch)()
net.load_state_dict(torch.load(args.weights))
net.train(args.training)
for module in net.modules():
    if args.epsilon is not None and isinstance(module, torch.nn.BatchNorm2d):
        module.eps = args.epsilon
    if args.stride_1x1 and isinstance(module, torchvision.models.resnet.Bottleneck):
        module.conv1.stride, module.conv2.stride = module.conv2.stride, module.conv1.stride

found = {'input': x}
names = {'maxpool': 'stem', 'avgpool': 'pooled', 'fc': 'logits', **{'layer%d' % i: 'layer%d' % i for i in range(1, 5)}}
for name, module in net.named_modules():
    if name in names or (args.blocks and name.startswith('layer') and name.count('.') == 1):
        key = names.get(name, name)
        module.register_forward_hook(lambda m, i, y, key=key: found.__setitem__(key, y.detach()))
with torch.no_grad():
    net(x)
if args.classes_as_text:
    found['logits'] = found['logits'][:, sorted(range(found['logits'].shape[1]), key=str)]
torch.save({name: y.contiguous() for name, y in found.items()}, args.out)
