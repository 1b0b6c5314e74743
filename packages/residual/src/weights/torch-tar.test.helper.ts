/**
 * Python: `write_tar(path, tensors, …)` writes PyTorch's container of 2016/17, as `torch.save` of that time did.
 * `tensors`: name to (storage key, storage type, shape, stride, offset, is a Parameter); `storages`: key to (type, bytes);
 * `change` may replace the bytes of a member.
 */
export const writeTar = `
import tarfile, io, struct, pickle
def p_int(n): return b'K' + bytes([n]) if n < 256 else b'J' + struct.pack('<i', n)
def p_str(s): return b'X' + struct.pack('<I', len(s)) + s.encode()
width = {'Float': 4, 'Half': 2, 'Long': 8, 'Double': 8}
def write_tar(path, tensors, storages, views=(), change=lambda name, data: data, format=tarfile.PAX_FORMAT, prefix='', info={}):
    run = pickle.dumps(len(storages), 2)
    for key, (kind, data) in storages.items():
        run += b'\\x80\\x02' + p_int(key) + p_str('cuda:0') + b'ctorch.cuda\\n' + kind.encode() + b'Storage\\n\\x87.'
        run += struct.pack('<q', len(data) // width[kind]) + data
    run += pickle.dumps(list(views), 2)
    table = pickle.dumps(len(tensors), 2)
    state = b'\\x80\\x02ccollections\\nOrderedDict\\n)R('
    for i, (name, (key, kind, shape, stride, offset, parameter)) in enumerate(tensors.items()):
        table += b'\\x80\\x02' + p_int(1000 + i) + p_int(key) + b'ctorch\\n' + kind.encode() + b'Tensor\\n\\x87.'
        table += struct.pack('<ii', len(shape), -7) + struct.pack(f'<{2 * len(shape) + 1}q', *shape, *stride, offset)
        value = p_str(str(1000 + i)) + b'Q'
        if parameter: value = b'ctorch.nn.parameter\\nParameter\\n)\\x81q' + bytes([i]) + b'(' + value + b'NN\\x88\\x89tb'
        state += p_str(name) + value
    members = {'sys_info': pickle.dumps({'protocol_version': 1000, 'little_endian': True, **info}, 2),
               'pickle': state + b'u.', 'tensors': table, 'storages': run}
    with tarfile.open(path, 'w', format=format) as archive:
        for name, data in members.items():
            data = change(name, data)
            member = tarfile.TarInfo(prefix + name); member.size = len(data); member.mtime = 1483986443.887173
            archive.addfile(member, io.BytesIO(data))
floats = struct.pack('<24f', *range(24))
sample = dict(tensors={'turned': (7, 'Float', (6, 4), (1, 6), 0, True), 'tail': (7, 'Float', (4,), (1,), 20, False),
                       'half': (8, 'Half', (3,), (1,), 0, True), 'count': (9, 'Long', (), (), 0, False), 'view': (10, 'Float', (2, 2), (2, 1), 1, True)},
              storages={7: ('Float', floats), 8: ('Half', struct.pack('<3e', 1, 2, 0.5)), 9: ('Long', struct.pack('<q', 5))}, views=[(10, 7, 4, 8)])
`;
