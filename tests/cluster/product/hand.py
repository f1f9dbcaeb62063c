"""What a person finds on `make cluster`: our images on the node, and a namespace with a voice to train.

Called by `python tests/cluster up --product`. The chart is left to the person: installing it is one command.
"""

from pathlib import Path

from bed.cluster import Bed
from product.installed import load_images
from product.voice import voiced

from speech_trainer.data.synthesize import SynthesisPlan

NAMESPACE = "speech"


def furnish(bed: Bed, folder: Path) -> None:
    """Load the images; make the namespace, a claim with synthesized sentences and one for checkpoints.

    `folder` (of this machine) holds what the claims hold; it goes with the cluster. Raises as `product`.
    """
    load_images(bed)
    voiced(bed, NAMESPACE, folder, SynthesisPlan(utterances=48, validation=4, max_words=4))
