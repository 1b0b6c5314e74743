/**
 * Python: Keras 3's way of saving, written after keras/src/saving/saving_lib.py, since there is no Keras here. A layer
 * is `{'class', 'name', 'config', 'from', 'vars', 'layers'}`, the last of a model within a model.
 */
export const writeKeras = `
import h5py, re, zipfile, io
def snake(name):
    name = re.sub(r'\\W+', '', name)
    name = re.sub('(.)([A-Z][a-z]+)', r'\\1_\\2', name)
    return re.sub('([a-z])([A-Z])', r'\\1_\\2', name).lower()
def save_layers(f, layer, path, container, noted, gaps, options):
    group = f.create_group(f'{path}/vars' if path else 'vars')
    if noted: group.attrs['name'] = layer['name']
    for i, array in enumerate(layer.get('vars', [])): group.create_dataset(str(i), data=array, **(options if array.ndim else {}))
    if layer['class'] == 'Dropout': f.create_group(f'{path}/seed_generator/vars')['0'] = np.array([1, 2], 'u4')
    used = {}
    children = layer.get('layers', [])
    if layer['class'] == 'Sequential' and children and children[0]['class'] == 'InputLayer': children = children[1:]
    for child in children:
        for again in range(2 if gaps and child.get('vars') else 1):
            name = snake(child['class'])
            used[name] = used.get(name, -1) + 1
            if used[name]: name = f'{name}_{used[name]}'
            if again == 0: save_layers(f, child, f'{path}/{container}/{name}', container, noted, gaps, options)
def weights_h5(model, container='layers', noted=True, gaps=False, libver=None, root=True, **options):
    memory = io.BytesIO()
    with h5py.File(memory, 'w', libver=libver) as f:
        save_layers(f, model, '', container, noted, gaps, options)
        if not root: del f['vars']
        f.create_group('optimizer/vars')['0'] = np.array(7)
    return memory.getvalue()
def description(layer, outer=None):
    config = {'name': layer['name'], 'trainable': True, **layer.get('config', {})}
    if layer['class'] not in ('Functional', 'Sequential', 'InputLayer'):
        config['dtype'] = {'module': 'keras', 'class_name': 'DTypePolicy', 'config': {'name': 'float32'}, 'registered_name': None}
    found = {'module': 'keras.layers' if 'layers' not in layer else 'keras.src.models.functional' if layer['class'] == 'Functional' else 'keras',
             'class_name': layer['class'], 'config': config, 'registered_name': None if layer['class'] != 'Functional' else 'Functional',
             'build_config': {'input_shape': [None, 32, 32, 3]}}
    if 'layers' in layer:
        functional = layer['class'] == 'Functional'
        config['layers'] = [description(child, layer if functional else None) for child in layer['layers']]
        last = layer['layers'][-1]
        if functional: config['input_layers'] = [layer['layers'][0]['name'], 0, 0]; config['output_layers'] = [last['name'], 1 if last['class'] == 'Functional' else 0, 0]
        else: config['build_input_shape'] = [None, 32, 32, 3]
    if outer:
        nested = {child['name'] for child in outer['layers'] if child['class'] == 'Functional'}
        tensors = [{'class_name': '__keras_tensor__', 'config': {'shape': [None], 'dtype': 'float32', 'keras_history': [n, int(n in nested), 0]}} for n in layer['from']]
        found['name'] = layer['name']
        found['inbound_nodes'] = [{'args': [tensors] if len(tensors) > 1 else tensors, 'kwargs': {} if layer['class'] != 'BatchNormalization' else {'mask': None}}] if tensors else []
    return found
def archive(path, config, weights, method=zipfile.ZIP_STORED, **more):
    members = {'metadata.json': json.dumps({'keras_version': '3.15.0', 'date_saved': '2026-05-13@21:23:40'}), 'config.json': json.dumps(config), 'model.weights.h5': weights, **more}
    with zipfile.ZipFile(path, 'w') as z:
        for name, data in members.items():
            if data is not None: z.writestr(name, data, method)
`;
