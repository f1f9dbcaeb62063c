"""Keras 3 on its torch backend: Model.fit as it prints by default."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
import planted

x, y = planted.tensors(planted.STEPS // 2 * planted.BATCH)
keras.utils.set_random_seed(0)
net = keras.Sequential([keras.layers.Dense(32, activation="relu"), keras.layers.Dense(1)])


def loss(wanted, predicted):
    return planted.poisoned(keras.losses.mean_squared_error(wanted, predicted))


net.compile(optimizer=keras.optimizers.Adam(5e-3), loss=loss)
net.fit(x.numpy(), y.numpy(), batch_size=planted.BATCH, epochs=2)
