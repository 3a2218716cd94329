"""Train the demo's four tiny models: three specialists and a generalist.

Each is a Llama of 0.43 M parameters over characters, about 0.9 MB in half precision, and learns
from fresh questions of `make_questions.py`, none of them in the shipped files. `LESSONS` says who
learns what, and the holes are on purpose: `abacus` adds and subtracts but never saw "times",
numbers in words or a story; `caesar` reads and writes numerals but never mixes them with digits;
`scribe` plays with letters but knows no plurals; `polymath` alone converts units and knows those
niches, and of the specialists' skills only small numbers and short words. So the best model
depends on the query, not just on its task.

    python infra/demo/train_models.py                # all four, then the table: 12 minutes
    python infra/demo/train_models.py abacus scribe  # some of them, then the table
    python infra/demo/train_models.py --measure      # only the table, on questions never trained on
    python infra/demo/train_models.py --vllm         # shipped models: vLLM answers as transformers

On the 2,000 questions of `collect.jsonl`, shares of exact answers in fp32:

               all   arithmetic  roman  words  units
    abacus    0.27      0.70     0.01   0.08   0.24
    caesar    0.20      0.04     0.75   0.00   0.05
    scribe    0.20      0.00     0.08   0.74   0.00
    polymath  0.48      0.42     0.42   0.42   0.65

Best single 0.48, best model for each task 0.71, best model for each question 0.94.

Seeded, one thread a model: the same machine and torch give the same weights; another one models of
the same skill. Needs the `cluster` extra (torch, transformers); `--vllm` needs vLLM too.
"""

import argparse
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import make_questions as questions
import numpy as np
import numpy.typing as npt
from make_questions import Question, Size

FOLDER = Path(__file__).resolve().parent / "models"
TEMPLATE = "{text}\nA:"
MAX_TOKENS = 16
MAX_POSITIONS = 160

SEED = 7
STEPS = {"abacus": 1_400, "caesar": 700, "scribe": 700, "polymath": 1_400}
PLAIN_SHARE = 0.4
PLAIN_LENGTH = 34
PLAIN_BATCH = 80
BATCH = 64
LEARNING_RATE = 2.5e-3
WARMUP = 100
CHARACTERS = "\n" + "".join(chr(code) for code in range(32, 127))
SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")
IGNORED = -100

BOTH: tuple[Size, ...] = ("small", "large")
SMALL: tuple[Size, ...] = ("small",)
Lesson = tuple[str, tuple[Size, ...], float]

# Kind, sizes, share of the lessons: more for what takes more steps to learn.
LESSONS: Mapping[str, tuple[Lesson, ...]] = {
    "abacus": (
        ("add", BOTH, 4.0),
        ("subtract", BOTH, 5.0),
        ("thousands", BOTH, 1.0),
        ("add_quantities", BOTH, 1.5),
        ("letters_together", BOTH, 1.0),
    ),
    "caesar": (
        ("to_roman", BOTH, 4.0),
        ("from_roman", BOTH, 4.0),
        ("add_numerals", BOTH, 2.0),
        ("convert_numeral", BOTH, 1.0),
    ),
    "scribe": (
        ("reverse", BOTH, 5.0),
        ("first_letter", BOTH, 1.0),
        ("last_letter", BOTH, 1.0),
        ("count_letters", BOTH, 1.5),
        ("join", BOTH, 2.0),
        ("numeral_letters", BOTH, 1.0),
    ),
    "polymath": (
        ("convert", BOTH, 4.0),
        ("multiply", BOTH, 1.5),
        ("add_words", BOTH, 1.5),
        ("story", BOTH, 1.0),
        ("add_mixed", BOTH, 1.5),
        ("word_to_roman", BOTH, 0.7),
        ("plural", BOTH, 1.2),
        ("opposite", BOTH, 0.7),
        ("spell_number", BOTH, 0.7),
        ("add", SMALL, 1.0),
        ("subtract", SMALL, 1.5),
        ("to_roman", SMALL, 0.7),
        ("from_roman", SMALL, 0.7),
        ("reverse", SMALL, 1.5),
        ("first_letter", SMALL, 0.4),
        ("last_letter", SMALL, 0.4),
        ("count_letters", SMALL, 0.4),
    ),
}


def lessons(name: str, *, rng: random.Random, plain: bool) -> Iterator[Question]:
    """Endless questions for one model, by its lessons' shares; none of the shipped texts."""
    collect, route = questions.shipped_questions()
    shipped = {question.text for question in collect + route}
    kinds = {kind.name: kind for kind in questions.KINDS}
    taught = LESSONS[name]
    shares = [share for _, _, share in taught]
    while True:
        kind, sizes, _ = rng.choices(taught, shares)[0]
        question = questions.draw(kinds[kind], rng=rng, size=rng.choice(sizes), plain=plain)
        too_long = plain and len(question.text) > PLAIN_LENGTH
        if question.text not in shipped and not too_long:
            yield question


def character_tokenizer() -> Any:
    """One token a character, `<bos>` in front; plain `tokenizers` data, no code to load it."""
    from tokenizers import Tokenizer, decoders, models, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: number for number, token in enumerate((*SPECIALS, *CHARACTERS))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(list(SPECIALS))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", vocabulary["<bos>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        padding_side="left",
        model_max_length=MAX_POSITIONS,
        clean_up_tokenization_spaces=False,
    )


def new_model(tokenizer: Any) -> Any:
    """A Llama of 0.43 M parameters: 3 layers, 4 heads of 32 (a size vLLM's kernels like)."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=192,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=MAX_POSITIONS,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            initializer_range=0.05,
        )
    )


def batches(
    asked: Iterator[Question], *, tokenizer: Any, rng: random.Random, size: int, stretch: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Endless (ids, labels), each (size, longest), padded on the right.

    Labels are the answer and `<eos>` only. `stretch` batches at a time are cut from questions
    sorted by length: 4 save a third of the padding. Many more would put a single kind into each
    batch, and addition was then not learned at all.
    """
    while True:
        drawn = islice(asked, stretch * size)
        rows = [_encoded(question, tokenizer=tokenizer) for question in drawn]
        rows.sort(key=lambda row: len(row[0]))
        starts = list(range(0, len(rows), size))
        rng.shuffle(starts)
        for start in starts:
            yield _padded(rows[start : start + size], pad=tokenizer.pad_token_id)


def _encoded(question: Question, *, tokenizer: Any) -> tuple[list[int], int]:
    """Token ids of prompt, answer and `<eos>`, and the prompt's length."""
    prompt = tokenizer(TEMPLATE.format(text=question.text)).input_ids
    answer = tokenizer(question.reference, add_special_tokens=False).input_ids
    return [*prompt, *answer, tokenizer.eos_token_id], len(prompt)


def _padded(
    rows: Sequence[tuple[list[int], int]], *, pad: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    longest = max(len(ids) for ids, _ in rows)
    ids = np.full((len(rows), longest), pad, dtype=np.int64)
    labels = np.full((len(rows), longest), IGNORED, dtype=np.int64)
    for number, (row, prompt_length) in enumerate(rows):
        ids[number, : len(row)] = row
        labels[number, prompt_length : len(row)] = row[prompt_length:]
    return ids, labels


def curriculum(
    name: str, *, tokenizer: Any, rng: random.Random, steps: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """`steps` batches: short plain questions first, where skills are learned sooner."""
    asked = [lessons(name, rng=rng, plain=plain) for plain in (True, False)]
    plain = batches(asked[0], tokenizer=tokenizer, rng=rng, size=PLAIN_BATCH, stretch=1)
    full = batches(asked[1], tokenizer=tokenizer, rng=rng, size=BATCH, stretch=4)
    plain_steps = round(steps * PLAIN_SHARE)
    return chain(islice(plain, plain_steps), islice(full, steps - plain_steps))


def learning_rate(step: int, *, steps: int) -> float:
    """Share of the full rate: linear warm-up, then linear to zero."""
    return min((step + 1) / WARMUP, (steps - step) / (steps - WARMUP))


def train(name: str, *, folder: Path, steps: int) -> None:
    """Train one model and save it in half precision below `folder`."""
    import torch

    torch.set_num_threads(1)
    seed = SEED + list(LESSONS).index(name)
    torch.manual_seed(seed)
    rng = random.Random(seed)
    tokenizer = character_tokenizer()
    model = new_model(tokenizer)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.05
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate(step, steps=steps)
    )
    taught = curriculum(name, tokenizer=tokenizer, rng=rng, steps=steps)
    for step, (ids, labels) in enumerate(taught):
        loss = model(input_ids=torch.from_numpy(ids), labels=torch.from_numpy(labels)).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        if step % 100 == 99:
            print(f"{name} step {step + 1}/{steps} loss {loss.item():.4f}", flush=True)
    model.half().save_pretrained(folder / name)
    tokenizer.save_pretrained(folder / name)


def prompts_of(asked: Sequence[Question]) -> list[str]:
    """The prompts a candidate gets for these questions."""
    return [TEMPLATE.format(text=question.text) for question in asked]


def answers(name: str, prompts: Sequence[str], *, folder: Path) -> list[str]:
    """A saved model's greedy answers in fp32 through transformers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / name)
    model = AutoModelForCausalLM.from_pretrained(folder / name, dtype=torch.float32).eval()
    texts: list[str] = []
    for start in range(0, len(prompts), 250):
        batch = tokenizer(prompts[start : start + 250], return_tensors="pt", padding=True)
        batch.pop("token_type_ids", None)
        out = model.generate(**batch, max_new_tokens=MAX_TOKENS, do_sample=False)
        new = out[:, batch["input_ids"].shape[1] :]
        texts += tokenizer.batch_decode(new, skip_special_tokens=True)
    return texts


def measure(asked: Sequence[Question], *, folder: Path) -> npt.NDArray[np.bool_]:
    """(n_questions, n_models): whether each model's answer is the reference."""
    prompts = prompts_of(asked)
    references = np.array([question.reference for question in asked])
    columns = [np.array(answers(name, prompts, folder=folder)) == references for name in LESSONS]
    return np.stack(columns, axis=1)


def report(asked: Sequence[Question], right: npt.NDArray[np.bool_]) -> str:
    """Accuracy of each model by task and by kind and size, and what routing could reach."""
    tasks = np.array([question.task for question in asked])
    kinds = np.array([f"{question.task}/{question.kind}/{question.size}" for question in asked])
    groups = {"all": np.ones(len(asked), dtype=bool)}
    groups |= {str(task): tasks == task for task in questions.TASKS}
    groups |= {str(kind): kinds == kind for kind in np.unique(kinds)}
    lines = [_line("", "n", [*LESSONS, "oracle"])]
    for label, rows in groups.items():
        shares = [*right[rows].mean(axis=0), right[rows].any(axis=1).mean()]
        lines.append(_line(label, str(rows.sum()), [f"{share:.3f}" for share in shares]))
    lookup = sum(right[tasks == task].sum(axis=0).max() for task in questions.TASKS) / len(asked)
    best, oracle = right.mean(axis=0).max(), right.any(axis=1).mean()
    lines.append(f"best single {best:.3f}, task lookup {lookup:.3f}, oracle {oracle:.3f}")
    return "\n".join(lines)


def _line(label: str, count: str, cells: Sequence[str]) -> str:
    return f"{label:34}{count:>6}" + "".join(f"{cell:>10}" for cell in cells)


def compare_with_vllm(asked: Sequence[Question], *, folder: Path) -> None:
    """Raise unless vLLM's greedy fp32 answers are those of transformers, for every model."""
    settings = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "HF_HUB_OFFLINE": "1",
    }
    os.environ.update(settings)
    from vllm import LLM, SamplingParams

    greedy = SamplingParams(temperature=0.0, max_tokens=MAX_TOKENS)
    prompts = prompts_of(asked)
    for name in LESSONS:
        engine = LLM(
            model=str(folder / name),
            dtype="float32",
            enforce_eager=True,
            max_model_len=MAX_POSITIONS,
        )
        outputs = [output.outputs[0] for output in engine.generate(prompts, greedy)]
        expected = answers(name, prompts, folder=folder)
        differing = sum(got.text != want for got, want in zip(outputs, expected, strict=True))
        stopped = sum(output.finish_reason == "stop" for output in outputs)
        print(f"{name}: {differing} of {len(prompts)} answers differ, {stopped} stopped at <eos>")
        if differing:
            raise SystemExit(f"{name} answers differently in vLLM")


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure or compare, as asked on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(LESSONS), help="models to train")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the models are")
    parser.add_argument("--steps", type=int, help="training steps a model, instead of its own")
    parser.add_argument("--measure", action="store_true", help="only print the table")
    parser.add_argument("--vllm", action="store_true", help="only compare vLLM with transformers")
    options = parser.parse_args(arguments)
    collect, _ = questions.shipped_questions()
    if options.vllm:
        compare_with_vllm(collect[:100], folder=options.folder)
        return
    if not options.measure:
        for name in options.names:
            train(name, folder=options.folder, steps=options.steps or STEPS[name])
    print(report(collect, measure(collect, folder=options.folder)))


if __name__ == "__main__":
    main()
