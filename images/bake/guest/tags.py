"""Prints the names of the images in an archive of images, from its manifest.json on standard input."""

import json
import sys

for image in json.load(sys.stdin):
    for name in image.get("RepoTags") or []:
        print(name)
