/*
 * Classes that training checkpoints name beside their weights and that only hold data. Nothing of theirs is run: an
 * object of such a class becomes a plain dictionary, list or text in the checkpoint's metadata; dates stand in dates.ts.
 * The list is closed; a name that is not on it is refused, for what it does when it is called cannot be known. Taken from
 * checkpoints of timm, torchvision's references, Detectron2, fvcore, OpenMMLab, Lightning and DINO.
 */

/** Objects whose fields arrive as state, `__dict__`. */
export const namespaces: readonly string[] = ['argparse.Namespace', 'types.SimpleNamespace'];

/** Dictionaries under another name: their entries arrive one by one, their state is of no interest. */
export const dictionaries: readonly string[] = [
  'collections.OrderedDict',
  'collections.Counter',
  'addict.addict.Dict',
  'detectron2.config.config.CfgNode',
  'easydict.EasyDict',
  'fvcore.common.config.CfgNode',
  'lightning_fabric.utilities.data.AttributeDict',
  'lightning.fabric.utilities.data.AttributeDict',
  'mmcv.utils.config.ConfigDict',
  'mmengine.config.config.ConfigDict',
  'pytorch_lightning.utilities.parsing.AttributeDict',
  'yacs.config.CfgNode',
];

/** Texts under another name, made of one text or of the parts of a path. */
export const texts: readonly string[] = [
  'pathlib.Path',
  'pathlib.PosixPath',
  'pathlib.PurePosixPath',
  'pathlib.WindowsPath',
  'pathlib.PureWindowsPath',
  'pathlib._local.PosixPath',
  'pathlib._local.WindowsPath',
  'torch.torch_version.TorchVersion',
];
