"""Paddle's high-level Model.fit, as it prints by default."""

import paddle
import planted

points = planted.rows(planted.STEPS // 2 * planted.BATCH)
paddle.seed(0)


class Data(paddle.io.Dataset):
    def __getitem__(self, index):
        point, value = points[index]
        return paddle.to_tensor(point), paddle.to_tensor([value])

    def __len__(self) -> int:
        return len(points)


class Loss(paddle.nn.Layer):
    def forward(self, predicted, wanted):
        return planted.poisoned(((predicted - wanted) ** 2).mean())


net = paddle.nn.Sequential(
    paddle.nn.Linear(planted.WIDTH, 32), paddle.nn.ReLU(), paddle.nn.Linear(32, 1)
)
model = paddle.Model(net)
model.prepare(paddle.optimizer.Adam(5e-3, parameters=net.parameters()), Loss())
model.fit(Data(), batch_size=planted.BATCH, epochs=2, log_freq=1)
