"""What Pillow and torchvision make of pictures, for the tests of packages/residual/src/image.

    python3 scripts/pillow-reference.py SHARED OUT

SHARED is the folder of test material. OUT receives raw RGB and float32 files and index.json, which lists
    decoded  every picture of SHARED/data/samples and imagenet-40, and pictures of every mode made here: file, size, raw RGB
    resized  random sizes and filters: source (an entry of decoded), target size, filter, raw RGB
    cropped  torchvision's CenterCrop of small and odd sizes: source, size, raw RGB
    inputs   the whole preprocessing of torchvision and Keras: source, preset, float32 [3, H, W]
Needs Pillow, numpy, torch and torchvision.
"""
import json
import os
import random
import struct
import sys
import warnings

import numpy as np
from PIL import Image
from torchvision import transforms as T

warnings.filterwarnings("ignore")
SHARED, OUT = sys.argv[1:3]
FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
random.seed(6)
np.random.seed(6)
os.makedirs(f"{OUT}/made", exist_ok=True)
index = {"decoded": [], "resized": [], "cropped": [], "inputs": []}
count = 0


def keep(data):
    global count
    count += 1
    name = f"{count}.raw"
    with open(f"{OUT}/{name}", "wb") as file:
        file.write(data)
    return name


def rle(indices, bits):
    """A BMP of 8 or 4 bits with run lengths, absolute runs and a delta, from rows of palette indices."""
    height, width = len(indices), len(indices[0])
    body = bytearray()
    for y in range(height - 1, -1, -1):
        row, x = indices[y], 0
        while x < width:
            if (x // 7 + y) % 3 and width - x >= 4:
                part = row[x:x + 4]
                packed = bytes(part) if bits == 8 else bytes([part[0] << 4 | part[1], part[2] << 4 | part[3]])
                body += bytes([0, 4]) + packed
                x += 4
            else:
                n = 1
                while n < 200 and x + n < width and row[x + n] == row[x]:
                    n += 1
                body += bytes([n, row[x] if bits == 8 else row[x] << 4 | row[x]])
                x += n
        body += b"\0\0"
    body += b"\0\1"
    colors = 1 << bits
    palette = b"".join(bytes([(i * 37) & 255, (i * 91) & 255, (i * 13) & 255, 0]) for i in range(colors))
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 1 if bits == 8 else 2, len(body), 0, 0, colors, 0)
    offset = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + head + palette + body


def make():
    """Pictures of every mode that Pillow can write."""
    where = f"{OUT}/made/"
    rgb = Image.open(f"{SHARED}/data/samples/cat.jpg").convert("RGB").resize((91, 61))
    noise = Image.fromarray(np.random.randint(0, 256, (61, 91), dtype="uint8"))
    grey = rgb.convert("L")
    rgba, la = rgb.copy(), grey.copy()
    rgba.putalpha(noise)
    la.putalpha(noise)
    one, cmyk = grey.convert("1"), rgb.convert("CMYK")
    palette = {n: rgb.quantize(n) for n in (2, 4, 13, 50)}
    wide = Image.fromarray(np.random.randint(0, 700, (61, 91)).astype("uint16"))
    full = Image.fromarray(np.asarray(grey).astype("uint16") * 257)
    basic = {"one": one, "grey": grey, "rgb": rgb, "rgba": rgba, "palette": palette[50]}
    for name, im in {**basic, "la": la, "p13": palette[13], "p4": palette[4], "p2": palette[2], "i16": wide, "i16full": full}.items():
        im.save(f"{where}{name}.png")
    palette[50].save(f"{where}transparent.png", transparency=5)
    grey.save(f"{where}grey-transparent.png", transparency=100)
    rgb.save(f"{where}rgb-transparent.png", transparency=(1, 2, 3))
    for name, im in {**basic, "p13": palette[13], "p2": palette[2], "odd": palette[13].crop((0, 0, 7, 5))}.items():
        im.save(f"{where}{name}.bmp")
    for bits in (4, 8):
        rows = [[(x // 5 * 3 + y) % (1 << bits) for x in range(36)] for y in range(11)]
        with open(f"{where}rle{bits}.bmp", "wb") as file:
            file.write(rle(rows, bits))
    for name, im in {**basic, "la": la, "cmyk": cmyk, "i16": wide, "i16full": full}.items():
        for compression in ("raw", "tiff_lzw", "tiff_deflate", "packbits"):
            im.save(f"{where}{name}-{compression}.tif", compression=compression)
    one.save(f"{where}fax.tif", compression="group4")
    rgb.save(f"{where}jpeg.tif", compression="jpeg", quality=80)
    for turn in range(1, 9):
        rgb.save(f"{where}turn{turn}.tif", tiffinfo={0x112: turn})
    for name in ("one", "grey", "palette"):
        for interlace in (0, 1):
            basic[name].save(f"{where}{name}-{interlace}.gif", interlace=interlace)
    palette[50].save(f"{where}transparent.gif", transparency=7)
    palette[50].save(f"{where}moving.gif", save_all=True, append_images=[palette[50].rotate(90)], transparency=3, disposal=2)
    for name in ("palette-0", "transparent"):
        data = bytearray(open(f"{where}{name}.gif", "rb").read())
        struct.pack_into("<HH", data, 6, 120, 100)
        open(f"{where}{name}-on-larger-screen.gif", "wb").write(data)
    for name in ("grey", "rgb", "rgba"):
        for lossless in (False, True):
            basic[name].save(f"{where}{name}-{lossless}.webp", lossless=lossless)
    rgba.save(f"{where}exact.webp", lossless=True, exact=True)
    rgba.save(f"{where}moving.webp", save_all=True, append_images=[rgba.rotate(90)])
    for name, im in {"grey": grey, "rgb": rgb, "cmyk": cmyk}.items():
        for quality in (5, 97):
            for progressive in (False, True):
                for subsampling in (0, 1, 2):
                    im.save(f"{where}{name}-{quality}-{progressive}-{subsampling}.jpg", quality=quality, progressive=progressive, subsampling=subsampling)
    data = open(f"{where}cmyk-97-False-0.jpg", "rb").read()
    marker = data.find(b"\xff\xee")
    length = struct.unpack(">H", data[marker + 2:marker + 4])[0]
    open(f"{where}cmyk-no-adobe.jpg", "wb").write(data[:marker] + data[marker + 2 + length:])
    rgb.resize((1, 1)).save(f"{where}one-pixel.jpg")
    rgb.resize((1, 1)).save(f"{where}one-pixel.png")
    rgb.resize((20000, 3)).save(f"{where}very-wide.jpg")
    rgb.resize((3, 20000)).save(f"{where}very-tall.png")
    return [where + name for name in sorted(os.listdir(where))]


def photographs():
    for folder in ("samples", "samples/formats", "samples/scenes", "imagenet-40"):
        for name in sorted(os.listdir(f"{SHARED}/data/{folder}")):
            # AVIF is unknown to Pillow 9; the cut-off file is an error.
            if name.endswith((".jpg", ".JPEG", ".png", ".webp", ".gif", ".bmp", ".tiff")) and name != "truncated.jpg":
                yield f"{SHARED}/data/{folder}/{name}"


pictures = []
for path in [*photographs(), *make()]:
    im = Image.open(path).convert("RGB")
    index["decoded"].append({"file": path, "width": im.width, "height": im.height, "raw": keep(im.tobytes())})
    pictures.append(im)

sources = [i for i, im in enumerate(pictures) if im.width * im.height < 400000]
for i in range(180):
    source = random.choice(sources)
    im = pictures[source]
    kind = i % 6
    side = lambda most: random.randint(1, most)
    size = [(side(400), side(400)), (im.width, side(300)), (side(300), im.height), (side(900), side(8)), (side(6), side(900)), (im.width + side(200), im.height + side(200))][kind]
    if i < 6:
        source, size = next(j for j, x in enumerate(index["decoded"]) if "very-wide" in x["file"]), [(224, 224), (1, 1), (20000, 5), (341, 3), (19999, 2), (3, 256)][i]
        im = pictures[source]
    name = random.choice(list(FILTERS))
    index["resized"].append({"source": source, "width": size[0], "height": size[1], "filter": name, "raw": keep(im.resize(size, FILTERS[name]).tobytes())})

for width, height in [(91, 61), (90, 60), (91, 60), (61, 91), (88, 58), (89, 57), (92, 62), (95, 65), (1, 1), (200, 10), (10, 200), (224, 224), (93, 62), (64, 57), (67, 64)]:
    im = Image.open(f"{OUT}/made/rgb.png")
    out = T.CenterCrop((height, width))(im)
    index["cropped"].append({"source": f"{OUT}/made/rgb.png", "width": width, "height": height, "raw": keep(out.tobytes())})

chosen = [i for i, x in enumerate(index["decoded"]) if os.path.basename(x["file"]) in ("cat.jpg", "sailboats.jpg", "room-objects.jpg", "n02123045_tabby.JPEG", "photo.bmp", "one-pixel.png")]
finish = [T.ToTensor(), T.Normalize(MEAN, DEVIATION)]
for source in chosen:
    im = pictures[source]
    made = {
        "torchvision": T.Compose([T.Resize(256), T.CenterCrop(224), *finish])(im).numpy(),
        "torchvision-v2": T.Compose([T.Resize(232), T.CenterCrop(224), *finish])(im).numpy(),
        "cifar": T.Compose(finish)(im.resize((32, 32), 2)).numpy(),
        "raw255": np.asarray(im.resize((32, 32), 2), dtype="float32").transpose(2, 0, 1),
    }
    # Keras: load_img(target_size=(224, 224)) with nearest, img_to_array, preprocess_input.
    x = np.asarray(im.resize((224, 224), 0), dtype="float32")
    caffe = x[..., ::-1].copy()
    for c, mean in enumerate([103.939, 116.779, 123.68]):
        caffe[..., c] -= mean
    tf = x.copy()
    tf /= 127.5
    tf -= 1.0
    made |= {"caffe": caffe.transpose(2, 0, 1), "tf": tf.transpose(2, 0, 1)}
    for name, values in made.items():
        index["inputs"].append({"source": source, "preset": name, "side": int(values.shape[1]), "raw": keep(np.ascontiguousarray(values).tobytes())})

with open(f"{OUT}/index.json", "w") as file:
    json.dump(index, file)
print({name: len(entries) for name, entries in index.items()}, f"Pillow {Image.__version__}")
