#!/usr/bin/python3
"""Trains ResNet-20 on CIFAR-10's pictures in PyTorch, as `residual train` does it, for comparison.

    tar xJf cifar10-jpeg.tar.xz -C DIR
    /usr/bin/python3 scripts/train-cifar10.py DIR --epochs 3 --seed 0

The network is the paper's (shortcut A), the recipe `he2015-cifar` over fewer epochs: SGD 0.1, momentum 0.9, weight decay
1e-4, batch 128, the rate a tenth after half of the epochs and again after three quarters; pictures are padded by 4,
cropped and flipped. Prints the test accuracy as JSON.
"""
import argparse
import json
import os
import time

import numpy
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

parser = argparse.ArgumentParser()
parser.add_argument('folder')
parser.add_argument('--epochs', type=int, default=3)
parser.add_argument('--seed', type=int, default=0)
parser.add_argument('--depth', type=int, default=20)
parser.add_argument('--threads', type=int, default=2)
parser.add_argument('--weights', help='a .pth to begin with, spelled as `residual convert` writes it')
parser.add_argument('--autocast', action='store_true', help='bf16')
options = parser.parse_args()
torch.set_num_threads(options.threads)
torch.manual_seed(options.seed)


def pictures(split):
    folder = os.path.join(options.folder, split)
    classes = sorted(os.listdir(folder))
    data, labels = [], []
    for index, name in enumerate(classes):
        for file in sorted(os.listdir(os.path.join(folder, name))):
            data.append(numpy.asarray(Image.open(os.path.join(folder, name, file)).convert('RGB')))
            labels.append(index)
    data = torch.from_numpy(numpy.stack(data)).permute(0, 3, 1, 2).float() / 255
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    return (data - mean) / deviation, torch.tensor(labels)


class Block(nn.Module):
    def __init__(self, inside, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride, self.more = stride, (width - inside) // 2

    def forward(self, x):
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more, self.more))
        return functional.relu(y + x)


def resnet(depth):
    layers = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    inside = 16
    for width in (16, 32, 64):
        for i in range((depth - 2) // 6):
            layers.append(Block(inside, width, 2 if i == 0 and width > 16 else 1))
            inside = width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    network = nn.Sequential(*layers)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    return network


def spelled(depth):
    """The names that `residual` gives the layers of the sequence above, which PyTorch numbers."""
    blocks = [f'layer{stage}.{i}' for stage in (1, 2, 3) for i in range((depth - 2) // 6)]
    return ['conv1', 'bn1', 'relu', *blocks, 'avgpool', 'flatten', 'fc']


def augmented(batch):
    padded = functional.pad(batch, (4, 4, 4, 4), value=0)  # Grey, as the mean is taken off already.
    black = (0 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    frame = torch.ones(1, 1, 40, 40)
    frame[:, :, 4:36, 4:36] = 0
    padded = padded + frame * black.view(1, 3, 1, 1)
    rows = []
    for picture in padded:
        y, x = torch.randint(0, 9, (2,)).tolist()
        crop = picture[:, y : y + 32, x : x + 32]
        rows.append(crop.flip(2) if torch.rand(()) < 0.5 else crop)
    return torch.stack(rows)


train, labels = pictures('train')
test, truth = pictures('test')
network = resnet(options.depth).to(memory_format=torch.channels_last)
if options.weights:
    place = {name: i for i, name in enumerate(spelled(options.depth))}
    given = {}
    for key, value in torch.load(options.weights).items():
        name = next(name for name in place if key.startswith(f'{name}.'))
        given[str(place[name]) + key[len(name):]] = value
    network.load_state_dict({**network.state_dict(), **given})
optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
per_epoch = len(train) // 128
milestones = [options.epochs * per_epoch // 2, options.epochs * per_epoch * 3 // 4]
schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, 0.1)
began = time.time()
for epoch in range(options.epochs):
    network.train()
    order = torch.randperm(len(train))
    for i in range(per_epoch):
        picked = order[128 * i : 128 * (i + 1)]
        batch = augmented(train[picked]).to(memory_format=torch.channels_last)
        with torch.autocast('cpu', torch.bfloat16, enabled=options.autocast):
            loss = functional.cross_entropy(network(batch), labels[picked])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
network.eval()
with torch.no_grad():
    right = sum((network(test[i : i + 500]).argmax(1) == truth[i : i + 500]).sum().item() for i in range(0, len(test), 500))
print(json.dumps({'seed': options.seed, 'epochs': options.epochs, 'accuracy': right / len(test), 'loss': loss.item(), 'seconds': time.time() - began}))
