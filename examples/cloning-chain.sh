#!/bin/sh
# From nothing to a sentence in a voice that training never heard, on two CPU cores: speech, codec, codes, references,
# a tiny voice-cloning model, its evaluation, a spoken sentence, and the report. Some ten minutes; speech of a model that
# small and so briefly trained shows the way, not the quality.   sh examples/cloning-chain.sh [FOLDER]
set -eu
out=${1:-out/chain}
here=$(dirname "$0")

speechtrain data synthesize --language te --speakers 8 --sentences 24 --validation 4 --out "$out/speech"
sed "s#OUT#$PWD/$out#" "$here/cloning-chain/codec.yaml" > "$out/codec.yaml"
speechtrain run "$out/codec.yaml"

for part in train validation; do
  speechtrain data encode "$out/speech/$part.jsonl" --codec "$out/codec/export" --out "$out/$part"
  speechtrain data pair "$out/$part/$part.jsonl" --out "$out/$part.jsonl"
done

sed "s#OUT#$PWD/$out#" "$here/cloning-chain/clone.yaml" > "$out/clone.yaml"
speechtrain run "$out/clone.yaml"
speechtrain why chain-clone
speechtrain speak chain-clone --text "నమస్కారం ఆకాశం నీలం" --reference "$out/validation.jsonl:1" --out "$out/spoken.wav"
speechtrain report chain-clone --out "$out/report.html"
