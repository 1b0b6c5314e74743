"""PyTorch as a contender (see contenders.js): contender.py {eager,jit,bf16} NETWORK"""
import json
import os
import sys
import time
import warnings

warnings.filterwarnings('ignore')
import torch
import torchvision

kind, name = sys.argv[1:]
threads = int(os.environ['THREADS'])
torch.set_num_threads(threads)
torch.manual_seed(1)
most_runs = 20

model = getattr(torchvision.models, name)().eval().to(memory_format=torch.channels_last)
dtype = torch.bfloat16 if kind == 'bf16' else torch.float32


def pictures(batch):
    return torch.randn(batch, 3, 224, 224).to(dtype).to(memory_format=torch.channels_last)


with torch.no_grad():
    if kind == 'jit':
        model = torch.jit.optimize_for_inference(torch.jit.trace(model, pictures(1)))
    elif kind == 'bf16':
        from torch.fx.experimental.optimization import fuse
        model = fuse(model).to(torch.bfloat16).to(memory_format=torch.channels_last)
    print(json.dumps({'runtime': 'PyTorch ' + torch.__version__}), flush=True)
    inputs = {}
    last = {}
    for line in sys.stdin:
        question = json.loads(line)
        batch = question['batch']
        turn = question['turn']
        first = batch not in inputs
        if first:
            inputs[batch] = pictures(batch)
        x = inputs[batch]

        def run():
            start = time.perf_counter()
            model(x)
            return 1000 * (time.perf_counter() - start)

        try:
            if first:
                run()
            # What takes longer than a turn needs no run to warm up.
            if last.get(batch, 0) < turn:
                run()
            times = [run()]
            while len(times) < most_runs and sum(times) < turn:
                times.append(run())
            last[batch] = times[-1]
            print(json.dumps({'times': times}), flush=True)
        except Exception as error:
            print(json.dumps({'error': str(error).split('\n')[0]}), flush=True)
