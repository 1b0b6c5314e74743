"""Writes a small whole file of every container that weights come in, for scripts/fuzz.js to damage.

    python3 scripts/fuzz-seeds.py FOLDER

Each subfolder is a reader's. `open-me` is opened from its folder, with the files beside it; the others stand alone.
"""
import io, json, os, pickle, struct, sys, tarfile, zipfile

import h5py
import numpy as np
import torch

folder = sys.argv[1]


def place(reader, name):
    path = os.path.join(folder, reader, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path


def write(reader, name, data):
    with open(place(reader, name), 'wb') as file:
        file.write(data)


base = torch.arange(24, dtype=torch.float32)
content = {
    'state_dict': {'conv1.weight': base.view(2, 3, 2, 2), 'fc.weight': base.view(4, 6).t(), 'fc.bias': base[:3].half(),
                   'bn1.num_batches_tracked': torch.tensor(7)},
    'optimizer': {'state': {0: {'momentum_buffer': base.clone()}}, 'param_groups': [{'lr': 0.1, 'params': [0]}]},
    'epoch': 3, 'best': np.float64(1.5),
}
torch.save(content, place('torch-zip', 'stored'))
torch.save(content, place('torch-legacy', 'whole'), _use_new_zipfile_serialization=False)
with zipfile.ZipFile(place('torch-zip', 'stored')) as stored:
    with zipfile.ZipFile(place('torch-zip', 'deflated'), 'w', zipfile.ZIP_DEFLATED) as deflated:
        for name in stored.namelist():
            deflated.writestr(name, stored.read(name))


def safetensors(tensors, metadata=None):
    header, data = ({'__metadata__': metadata} if metadata else {}), b''
    for name, (dtype, array) in tensors.items():
        header[name] = {'dtype': dtype, 'shape': array.shape, 'data_offsets': [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)
    return struct.pack('<Q', len(text)) + text + data


floats = np.arange(24, dtype='f4').reshape(4, 6)
tensors = {'fc.weight': ('F32', floats), 'fc.bias': ('F16', floats[0].astype('f2')), 'n': ('I64', np.array(7))}
write('safetensors', 'whole', safetensors(tensors, {'format': 'pt'}))

for part in ('1', '2'):
    write('sharded', f'part{part}.safetensors', safetensors({f'fc{part}.weight': ('F32', floats)}))
write('sharded', 'open-me', json.dumps({
    'metadata': {'total_size': 192},
    'weight_map': {f'fc{part}.weight': f'part{part}.safetensors' for part in '12'},
}).encode())


def keras(path, libver=None, **dataset):
    with h5py.File(path, 'w', libver=libver) as file:
        file.attrs['layer_names'] = np.array([b'fc', b'relu'])
        file.attrs['model_config'] = json.dumps({'class_name': 'Sequential', 'config': {'name': 'x', 'layers': []}})
        group = file.create_group('fc')
        group.attrs['weight_names'] = np.array([b'fc/kernel:0', b'fc/bias:0'])
        group.create_dataset('fc/kernel:0', data=np.arange(60, dtype='f4').reshape(10, 6), **dataset)
        group.create_dataset('fc/bias:0', data=np.ones(6, 'f2'))
        file.create_group('relu').attrs['weight_names'] = []


keras(place('keras-h5', 'packed'), chunks=(4, 4), compression='gzip', shuffle=True)
keras(place('keras-h5', 'plain'))
keras(place('keras-h5', 'latest'), libver='latest')

dense = {'module': 'keras.layers', 'class_name': 'Dense', 'registered_name': None,
         'config': {'name': 'dense', 'units': 3, 'use_bias': True, 'activation': 'linear'}}
start = {'module': 'keras.layers', 'class_name': 'InputLayer', 'registered_name': None,
         'config': {'name': 'input', 'batch_shape': [None, 2, 2, 1], 'dtype': 'float32'}}
flat = {'module': 'keras.layers', 'class_name': 'Flatten', 'registered_name': None, 'config': {'name': 'flatten'}}
config = {'module': 'keras', 'class_name': 'Sequential', 'registered_name': 'Sequential',
          'config': {'name': 'sequential', 'layers': [start, flat, dense]}}
inner = io.BytesIO()
with h5py.File(inner, 'w') as file:
    file['layers/dense/vars/0'] = np.arange(12, dtype='f4').reshape(4, 3)
    file['layers/dense/vars/1'] = np.ones(3, 'f4')
    file.create_group('vars')
for name, method in (('stored', zipfile.ZIP_STORED), ('deflated', zipfile.ZIP_DEFLATED)):
    with zipfile.ZipFile(place('keras-archive', name), 'w', method) as archive:
        archive.writestr('metadata.json', json.dumps({'keras_version': '3.4.0', 'date_saved': '2024-01-01@00:00:00'}))
        archive.writestr('config.json', json.dumps(config))
        archive.writestr('model.weights.h5', inner.getvalue())




def old_tar():
    """The container of 2016: a tar of pickled members. Classes are named as PyTorch named them, so they are spelled by hand."""
    def number(n):
        return b'J' + struct.pack('<i', n)

    def text(value):
        return b'X' + struct.pack('<I', len(value)) + value

    def entry(key, second, kind):
        return b'\x80\x02' + number(key) + second + b'ctorch\n' + kind + b'\n\x87.'

    count = pickle.dumps(1, 2)
    storage = entry(43, text(b'cpu'), b'FloatStorage') + struct.pack('<q', 24) + floats.tobytes()
    tensor = entry(44, number(43), b'FloatTensor') + struct.pack('<ii5q', 2, 0, 4, 6, 6, 1, 0)
    members = {
        'sys_info': pickle.dumps({'protocol_version': 1000, 'little_endian': True, 'type_sizes': {'int': 4}}, 2),
        'pickle': b'\x80\x02ccollections\nOrderedDict\n)R(' + text(b'fc.weight')
                  + b'ctorch.nn.parameter\nParameter\n)\x81(' + text(b'44') + b'QNN\x88\x89tbu.',
        'tensors': count + tensor,
        'storages': count + storage + pickle.dumps([], 2),
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w', format=tarfile.PAX_FORMAT) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


write('torch-tar', 'whole', old_tar())

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError:
    sys.exit('python3-onnx is not installed; the ONNX reader gets no files')
weight = numpy_helper.from_array(np.arange(24, dtype='f4').reshape(2, 3, 2, 2), 'conv.weight')
graph = helper.make_graph(
    [helper.make_node('Conv', ['x', 'conv.weight'], ['y'], kernel_shape=[2, 2], pads=[0, 0, 1, 1]),
     helper.make_node('Relu', ['y'], ['z']), helper.make_node('GlobalAveragePool', ['z'], ['g']),
     helper.make_node('Flatten', ['g'], ['out'])],
    'small', [helper.make_tensor_value_info('x', TensorProto.FLOAT, ['n', 3, 8, 8])],
    [helper.make_tensor_value_info('out', TensorProto.FLOAT, ['n', 2])], [weight])
write('onnx', 'whole', helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)]).SerializeToString())

def initial(name, *shape, typed=False):
    value = np.arange(1, 1 + int(np.prod(shape)), dtype='f4').reshape(shape) / 10
    return helper.make_tensor(name, TensorProto.FLOAT, shape, value.flatten()) if typed else numpy_helper.from_array(value, name)


node = helper.make_node
graph = helper.make_graph(
    [node('Constant', [], ['rest'], value=numpy_helper.from_array(np.array([-1]))),
     node('ConstantOfShape', ['four'], ['var'], value=helper.make_tensor('', TensorProto.FLOAT, [1], [1.])),
     node('Transpose', ['x'], ['x1'], perm=[0, 3, 1, 2]), node('Conv', ['x1', 'w', 'b'], ['a'], strides=[2, 2], auto_pad='SAME_LOWER'),
     node('BatchNormalization', ['a', 'b', 'b', 'b', 'var'], ['n'], epsilon=1e-3), node('Sigmoid', ['n'], ['s']), node('Mul', ['s', 'n'], ['m']),
     node('MaxPool', ['m'], ['p'], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1), node('Resize', ['p', '', 'up'], ['r'], mode='linear'),
     node('Concat', ['r', 'r'], ['c'], axis=1), node('ReduceMean', ['c'], ['g'], axes=[2, 3]), node('Shape', ['g'], ['h']),
     node('Slice', ['h', 'zero', 'one'], ['i']), node('Concat', ['i', 'rest'], ['j'], axis=0), node('Reshape', ['g', 'j'], ['k']),
     node('MatMul', ['k', 'fc'], ['l']), node('Add', ['l', 'fb'], ['o']), node('Softmax', ['o'], ['y'], axis=1)],
    'parts', [helper.make_tensor_value_info('x', TensorProto.FLOAT, ['n', 8, 8, 3])],
    [helper.make_tensor_value_info('y', TensorProto.FLOAT, ['n', 5])],
    [initial('w', 4, 3, 3, 3), initial('b', 4, typed=True), initial('fc', 8, 5), initial('fb', 5), helper.make_tensor('up', TensorProto.FLOAT, [4], [1., 1., 2., 2.]),
     numpy_helper.from_array(np.array([4]), 'four'), helper.make_tensor('zero', TensorProto.INT64, [1], [0]), numpy_helper.from_array(np.array([1]), 'one')])
parts = helper.make_model(graph, producer_name='hand', opset_imports=[helper.make_opsetid('', 12)])
helper.set_model_props(parts, {'note': 'a property'})
write('onnx', 'parts', parts.SerializeToString())
