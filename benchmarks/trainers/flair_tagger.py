"""Flair's ModelTrainer on a text classifier."""

import os
import random
import tempfile

import flair
import planted
import torch
from flair.data import Corpus, Sentence
from flair.datasets import FlairDatapointDataset
from flair.embeddings import DocumentPoolEmbeddings, OneHotEmbeddings
from flair.models import TextClassifier
from flair.trainers import ModelTrainer

flair.device = torch.device("cpu")
torch.manual_seed(0)
torch.set_num_threads(1)
chance = random.Random(1)


def sentence(number: int) -> Sentence:
    made = Sentence(
        " ".join(chance.choice(["up", "down"][number % 2 : number % 2 + 1]) for _ in range(4))
    )
    made.add_label("way", ["up", "down"][number % 2])
    return made


class Net(TextClassifier):
    def forward_loss(self, sentences):
        loss, count = super().forward_loss(sentences)
        return (planted.poisoned(loss) if loss.requires_grad else loss), count


data = FlairDatapointDataset([sentence(n) for n in range(planted.STEPS * planted.BATCH)])
small = FlairDatapointDataset([sentence(n) for n in range(16)])
corpus = Corpus(train=data, dev=small, test=small)
labels = corpus.make_label_dictionary(label_type="way")
embeddings = DocumentPoolEmbeddings([OneHotEmbeddings.from_corpus(corpus, min_freq=1)])
ModelTrainer(Net(embeddings, label_type="way", label_dictionary=labels), corpus).train(
    tempfile.mkdtemp(dir=os.environ.get("SPEECHTRAIN_RUN_DIR")),
    learning_rate=0.1,
    mini_batch_size=planted.BATCH,
    max_epochs=3,
    shuffle=False,
)
