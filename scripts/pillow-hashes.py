"""Writes packages/residual/src/image/resize.fixture.json: SHA-256 of generated pictures resized by Pillow.

    python3 scripts/pillow-hashes.py > packages/residual/src/image/resize.fixture.json

Made with Pillow 9.4.0; any later 9.x or 10.x gives the same. The picture of width w and height h is w * h * 3 bytes
of the generator s = s * 1103515245 + 12345 (mod 2^32) from s = w * 1000 + h, each byte the bits 16-23 of s.
"""
import hashlib
import json

from PIL import Image

FILTERS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
PAIRS = [
    ((1, 1), (1, 1)), ((1, 1), (5, 3)), ((2, 3), (7, 2)), ((7, 5), (7, 11)), ((64, 48), (17, 48)),
    ((64, 48), (33, 21)), ((64, 48), (200, 3)), ((3, 400), (9, 31)), ((400, 2), (13, 40)), ((150, 113), (102, 77)),
]


def picture(width, height):
    state = width * 1000 + height
    data = bytearray(width * height * 3)
    for i in range(len(data)):
        state = (state * 1103515245 + 12345) & 0xFFFFFFFF
        data[i] = state >> 16 & 255
    return Image.frombytes("RGB", (width, height), bytes(data))


rows = []
for before, after in PAIRS:
    source = picture(*before)
    for name, number in FILTERS.items():
        digest = hashlib.sha256(source.resize(after, number).tobytes()).hexdigest()
        rows.append(json.dumps({"from": before, "to": after, "filter": name, "sha256": digest}))
print("[\n  " + ",\n  ".join(rows) + "\n]")
