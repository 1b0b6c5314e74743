#!/usr/bin/env python3
"""Records what PyTorch computes when one thing is done otherwise, for the tests of `compare`.

  compare.plants.py SHARED WEIGHTS OUT    (WEIGHTS: the folder that make-weights wrote)

Writes OUT/NAME.safetensors with input, stem, layer1..layer4, pooled, logits, some with probabilities; OUT/random18.pth is a random ResNet-18
whose statistics are no defaults.
"""
import copy, os, sys
import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image, ImageEnhance, ImageOps
sys.dont_write_bytecode = True
shared, weights, out = sys.argv[1:4]
sys.path.insert(0, os.path.join(shared, 'oracle'))
import safetensors_io as st
import torchvision_oracle as oracle

torch.set_num_threads(1)
torch.set_grad_enabled(False)
MEAN, DEV = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
ELEPHANT = os.path.join(shared, 'data/samples/elephant.jpg')      # 525 x 351
TURNED = os.path.join(shared, 'data/samples/formats/exif-orientation-6.jpg')
ALPHA = os.path.join(shared, 'data/samples/formats/alpha.png')
LINEAR, CUBIC, NEAREST = Image.BILINEAR, Image.BICUBIC, Image.NEAREST


def opened(file, turn=True):
    image = Image.open(file)
    return (ImageOps.exif_transpose(image) if turn else image).convert('RGB')


def short_side(image, size, how=LINEAR):
    w, h = image.size
    return image.resize((size, size * h // w) if w <= h else (size * w // h, size), how)


def crop(x, size=224, down=None):
    h, w = x.shape[-2:]
    top, left = int(round((h - size) / 2)), int(round((w - size) / 2))
    if down is not None:
        top, left = [(side - size) // 2 + (0 if down else (side - size) % 2) for side in (h, w)]
    return x[..., top:top + size, left:left + size]


def floats(image):
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float()


def unit(image):
    return floats(image) / 255


def usual(image):
    return (crop(unit(short_side(image, 256))) - MEAN) / DEV


def tensor_resize(image, how, **options):
    x = floats(image)[None]
    h, w = x.shape[-2:]
    size = (256, int(256 * w / h)) if h <= w else (int(256 * h / w), 256)
    return F.interpolate(x, size, mode=how, **options)[0] / 255


def changed(base, epsilon):
    net = copy.deepcopy(base)
    for module in net.modules():
        if epsilon is not None and isinstance(module, torch.nn.BatchNorm2d):
            module.eps = epsilon
    return net


def stages(net, x, pool=None, activation=F.relu):
    found = {'input': x}
    x = activation(net.bn1(net.conv1(x)))
    x = found['stem'] = pool(x) if pool else net.maxpool(x)
    for name in ('layer1', 'layer2', 'layer3', 'layer4'):
        x = found[name] = getattr(net, name)(x)
    x = found['pooled'] = net.avgpool(x).flatten(1)
    found['logits'] = net.fc(x)
    return found


def record(name, found):
    st.save(os.path.join(out, name + '.safetensors'), {k: v.contiguous() for k, v in found.items()})


def edited(net, change):
    with torch.no_grad():
        for name, module in net.named_modules():
            change(name, module)
    return net


os.makedirs(out, exist_ok=True)
def trained(arch):
    net = getattr(torchvision.models, arch)().eval()
    net.load_state_dict(torch.load(os.path.join(weights, arch + '-pqf.pth')))
    return net


trained18, trained50 = trained('resnet18'), trained('resnet50')
generator = torch.Generator().manual_seed(5)
shaken = oracle.randomise(torchvision.models.resnet18(), 96, generator)
torch.save(shaken.state_dict(), os.path.join(out, 'random18.pth'))

# Pictures: only the input is recorded.
elephant = opened(ELEPHANT)
PICTURES = {
    'agrees': usual(elephant),
    'bgr': usual(elephant).flip(0),
    'bgr-before-means': (crop(unit(short_side(elephant, 256))).flip(0) - MEAN) / DEV,
    'range-255': (crop(floats(short_side(elephant, 256))) - MEAN) / DEV,
    'no-mean': crop(unit(short_side(elephant, 256))),
    'no-deviation': crop(unit(short_side(elephant, 256))) - MEAN,
    'half-mean': (crop(unit(short_side(elephant, 256))) - 0.5) / DEV,
    'mode-tf': crop(floats(short_side(elephant, 256))) / 127.5 - 1,
    'mode-caffe': crop(floats(short_side(elephant, 256))).flip(0) - torch.tensor([103.939, 116.779, 123.68]).view(3, 1, 1),
    'nearest': (crop(unit(short_side(elephant, 256, NEAREST))) - MEAN) / DEV,
    'bicubic': (crop(unit(short_side(elephant, 256, CUBIC))) - MEAN) / DEV,
    'no-antialias': (crop(tensor_resize(elephant, 'bilinear', align_corners=False)) - MEAN) / DEV,
    'antialias-floats': (crop(tensor_resize(elephant, 'bilinear', align_corners=False, antialias=True)) - MEAN) / DEV,
    'aligned-corners': (crop(tensor_resize(elephant, 'bilinear', align_corners=True)) - MEAN) / DEV,
    'squash': (unit(elephant.resize((224, 224), LINEAR)) - MEAN) / DEV,
    'resize-232': (crop(unit(short_side(elephant, 232))) - MEAN) / DEV,
    'crop-pct-095': (crop(unit(short_side(elephant, int(224 / 0.95)))) - MEAN) / DEV,
    'crop-first': (unit(elephant.crop((87, 0, 87 + 351, 351)).resize((224, 224), LINEAR)) - MEAN) / DEV,
    'grey': usual(elephant.convert('L').convert('RGB')),
    'height-width': usual(elephant).transpose(1, 2),
    'nhwc': usual(elephant).permute(1, 2, 0).reshape(3, 224, 224),
    'keras': floats(elephant.resize((224, 224), NEAREST)).flip(0) - torch.tensor([103.939, 116.779, 123.68]).view(3, 1, 1),
    'exif': usual(opened(TURNED, turn=False)),
    # torch rounds what it interpolates in 8 bits:
    'no-antialias-bytes': (crop(tensor_resize(elephant, 'bilinear', align_corners=False).mul(255).round() / 255) - MEAN) / DEV,
    'alpha': usual(Image.open(ALPHA).convert('RGB')),
    # What is in no table:
    'unknown-gamma': usual(elephant.point(lambda v: round(255 * (v / 255) ** 0.8))),
    'unknown-brighter': usual(ImageEnhance.Brightness(elephant).enhance(1.2)),
    'unknown-darker': usual(ImageEnhance.Brightness(elephant).enhance(0.9)),
    'unknown-mirror': usual(ImageOps.mirror(elephant)),
    'unknown-noise': usual(elephant) + 0.2 * torch.randn((3, 224, 224), generator=generator),
    'unknown-shift': usual(elephant).roll(5, 2),
}
# 259 - 224 is odd: the offset has a half.
PICTURES['crop-down'] = (crop(unit(short_side(elephant, 259)), down=True) - MEAN) / DEV
for name, x in PICTURES.items():
    record('picture-' + name, {'input': x[None]})

# Networks, all on one photograph.
x = usual(elephant)[None]
small = F.avg_pool2d(x, 2)      # 112: enough to tell, and quick


def bottleneck_stride(name, module):
    if isinstance(module, torchvision.models.resnet.Bottleneck):
        module.conv1.stride, module.conv2.stride = module.conv2.stride, module.conv1.stride


def of_convs(change):
    return lambda name, module: change(name, module) if isinstance(module, torch.nn.Conv2d) else None


def of_norms(change):
    return lambda name, module: change(module) if isinstance(module, torch.nn.BatchNorm2d) else None


def same_padding(name, module):
    if isinstance(module, torch.nn.Conv2d) and module.stride[0] == 2 and module.kernel_size[0] > 1:
        k = module.kernel_size[0]
        module.padding = (0, 0)
        def before(m, args, k=k):
            total = [max((-(-side // 2) - 1) * 2 + k - side, 0) for side in args[0].shape[-2:]]
            return (F.pad(args[0], (total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2)),)
        module.register_forward_pre_hook(before)


def same_pool(x):
    side = x.shape[-1]
    total = max((-(-side // 2) - 1) * 2 + 3 - side, 0)
    return F.max_pool2d(F.pad(x, (total // 2, total - total // 2) * 2, value=float('-inf')), 3, 2)


def no_relu_after_sum(name, module):
    if isinstance(module, torchvision.models.resnet.BasicBlock):
        def forward(x, m=module):
            y = m.bn2(m.conv2(m.relu(m.bn1(m.conv1(x)))))
            return y + (m.downsample(x) if m.downsample is not None else x)
        module.forward = forward


def leaky(name, module):
    if isinstance(module, torchvision.models.resnet.BasicBlock):
        module.relu = torch.nn.LeakyReLU(0.1)


def mean_shortcut(name, module):
    if name.endswith('downsample') and module[0].stride[0] == 2:
        module[0].stride = (1, 1)
        module.insert(0, torch.nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False))


def rounded(kind):
    def change(name, module):
        for parameter in list(module.parameters(recurse=False)) + list(module.buffers(recurse=False)):
            if parameter.is_floating_point():
                parameter.copy_(parameter.to(kind).float())
    return change


def swap_gamma_beta(module):
    gamma = module.weight.clone()
    module.weight.copy_(module.bias)
    module.bias.copy_(gamma)


def one_layer(name, module):
    if name == 'layer3.1.conv2':
        module.weight.mul_(1.3)


real = lambda epsilon=None: changed(trained18, epsilon)
large = lambda epsilon=None: changed(trained50, epsilon)
random = lambda epsilon=None: changed(shaken, epsilon)
record('net-agrees', stages(real(), small))
record('net-epsilon', stages(real(1e-3), small))
record('net-stride', stages(edited(large(), bottleneck_stride), small))
record('net-pool-unpadded', stages(real(), small, pool=lambda t: F.max_pool2d(t, 3, 2)))
record('net-pool-ceil', stages(real(), small, pool=lambda t: F.max_pool2d(t, 3, 2, ceil_mode=True)))
record('net-same', stages(edited(real(), same_padding), small, pool=same_pool))
record('net-relu', stages(edited(real(), no_relu_after_sum), small))
record('net-mean-shortcut', stages(edited(real(), mean_shortcut), small))
record('net-float16', stages(edited(real(), rounded(torch.float16)), small))
record('net-bfloat16', stages(edited(real(), rounded(torch.bfloat16)), small))
record('net-kernels-turned', stages(edited(real(), of_convs(lambda n, m: m.weight.copy_(m.weight.flip(2, 3).clone()))), small))
record('net-kernels-swapped', stages(edited(real(), of_convs(lambda n, m: m.weight.copy_(m.weight.transpose(2, 3).clone()))), small))
record('net-variance', stages(edited(random(), of_norms(lambda m: m.running_var.pow_(2))), small))
record('net-gamma-beta', stages(edited(random(), of_norms(swap_gamma_beta)), small))
record('net-random-epsilon', stages(random(1e-3), small))
record('net-training', stages(edited(random(), of_norms(lambda m: m.train())), small))
record('net-keras-topology', stages(edited(large(1e-3), bottleneck_stride), small))
found = stages(real(), small)
record('net-softmax', {**found, 'logits': found['logits'].softmax(1)})
record('net-softmax-twice', {**found, 'logits': found['logits'].softmax(1).softmax(1)})
record('net-probabilities', {**found, 'probabilities': found['logits'].softmax(1)})
record('net-probabilities-twice', {**found, 'probabilities': found['logits'].softmax(1).softmax(1)})
record('net-probabilities-sigmoid', {'input': small, 'probabilities': found['logits'].sigmoid()})
record('net-probabilities-bias', {'input': small, 'probabilities': (found['logits'] - real().fc.bias).softmax(1)})
order = torch.tensor(sorted(range(1000), key=str))
record('net-class-order', {**found, 'logits': found['logits'][:, order]})
record('net-no-bias', {**found, 'logits': found['logits'] - real().fc.bias})
NAMES = {'layer1': 'stage2', 'layer2': 'stage3', 'layer3': 'stage4', 'layer4': 'stage5'}
keras = {NAMES.get(k, k): v for k, v in found.items()}
record('net-nhwc', {k: v.permute(0, 2, 3, 1) if v.ndim == 4 else v for k, v in keras.items()})
# What is in no table:
record('unknown-probabilities', {**found, 'probabilities': found['logits'].mul(1.5).softmax(1)})
record('unknown-leaky', stages(edited(real(), leaky), small))
record('unknown-layer', stages(edited(real(), one_layer), small))
broken = dict(found)
broken['layer3'] = found['layer3'].clone()
broken['layer3'][:, 5] = 0
record('unknown-channel', broken)
record('unknown-silu', stages(real(), small, activation=F.silu))
