"""What a Python user writes to classify one photograph: classify-pytorch.py WEIGHTS PHOTO"""
import sys
import torch
import torchvision
from PIL import Image

torch.set_num_threads(2)
transforms = torchvision.transforms
model = torchvision.models.resnet50()
model.load_state_dict(torch.load(sys.argv[1], map_location='cpu'))
model.eval()
prepare = transforms.Compose([
    transforms.Resize(256),
    transforms.CenterCrop(224),
    transforms.ToTensor(),
    transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
])
with torch.no_grad():
    probabilities = model(prepare(Image.open(sys.argv[2]).convert('RGB'))[None]).softmax(1)
for probability, index in zip(*(row[0].tolist() for row in probabilities.topk(5))):
    print(index, probability)
