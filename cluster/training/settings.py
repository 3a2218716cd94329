"""How a method trains, whatever its loss."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from cluster.errors import InputError

Precision = Literal["auto", "fp32", "bf16"]


class TrainingSettings(BaseModel):
    """The loop's settings.

    Attributes:
        epochs: passes over the training rows, at most.
        patience: epochs without a better validation score, or an equal one at a lower loss, after
            which training ends.
        batch_size: rows an optimizer step is made of, over all workers.
        micro_batch: rows that pass through the network together, at most. Losses that compare rows
            compare them within a micro-batch, so that the number of workers does not change what
            is learned.
        learning_rate: of AdamW, after the warm-up, and constant.
        tuned_learning_rate: the same, of pretrained weights that are trained along; a head's rate
            would make them forget.
        weight_decay: of AdamW, on matrices; biases, scales and single vectors have none.
        warmup_share: share of all steps over which the learning rate rises from 0.
        clip: largest norm of a step's gradient.
        precision: of an encoder's arithmetic in training: bf16 where the hardware multiplies it
            natively ("auto"), or one of the two. Heads and losses are fp32: bf16 rounds cosines to
            0.004, and candidates would tie that do not.
        gradient_checkpointing: compute a pretrained model's states twice instead of keeping them:
            a third more time for a fraction of the memory, and the same result.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=10, ge=1)
    patience: int = Field(default=3, ge=1)
    batch_size: int = Field(default=64, ge=1)
    micro_batch: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    tuned_learning_rate: float = Field(default=5e-5, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(default=0.01, ge=0, allow_inf_nan=False)
    warmup_share: float = Field(default=0.05, ge=0, lt=1)
    clip: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    precision: Precision = "auto"
    gradient_checkpointing: bool = False

    @property
    def micro_batches(self) -> int:
        """Micro-batches an optimizer step."""
        return -(-self.batch_size // self.micro_batch)

    def require_workers(self, workers: int) -> None:
        """Make sure that every worker has the same number of micro-batches in every step.

        Raises:
            InputError: they cannot be shared out evenly.
        """
        if workers > 1 and self.micro_batches % workers:
            raise InputError(
                f"batch_size {self.batch_size} makes {self.micro_batches} micro-batches of "
                f"{self.micro_batch} rows, which {workers} workers cannot share evenly: set "
                f"micro_batch to batch_size / {workers} or less, or use fewer workers"
            )
