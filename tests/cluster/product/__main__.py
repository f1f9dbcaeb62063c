"""`python tests/cluster/product`: builds both images whole and says how long it took and how large they are.

What `make accept-images` runs: the one place where the trainer's image is built with torch, from its lock.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bed import rootfs, system
from bed.cluster import log_to_stderr
from bed.dockerfile import Builder
from bed.layout import cache_dir
from bed.system import Tier
from product import images


def main() -> int:
    """Returns the exit code; the sentence says why it is not 0."""
    if reason := system.obstacle(Tier.IMAGES):
        log_to_stderr(reason)
        return 1
    cache = cache_dir()
    builder = Builder(cache / "buildah")
    builder.load(rootfs.python_image(cache, log_to_stderr))
    for build in (images.operator_image, images.trainer_image):
        since = time.monotonic()
        archive = build(builder, cache, log_to_stderr)
        size = archive.stat().st_size / 2**20
        log_to_stderr(f"{archive}: {size:.0f} MiB in {time.monotonic() - since:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
