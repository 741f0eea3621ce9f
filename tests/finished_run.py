"""A finished run without training: predictions, manifests and questions as the steps write them."""

from pathlib import Path

from mentor_kd.files import write_json, write_jsonl, write_text

TASK = "sandbox-sums"


def write_run(
    run: Path, counts: dict[str, list[int]], n: int = 20, task: str = TASK, text: str = "so it is {}"
) -> Path:
    """A run in which seed k of each method gets the first `counts[method][k]` of n questions right; returns `run`.

    The method "mentor" has one model only. Question i is "What is i plus 1?", and a wrong answer is 0.
    """
    folder = Path(run) / task
    write_text(folder / "params.yaml", f"task: {task}\n")
    for method, seeds in counts.items():
        for seed, right in enumerate(seeds):
            place = folder / ("mentor" if method == "mentor" else f"students/{method}-seed{seed}")
            write_jsonl(place / "predictions.jsonl", [prediction(i, i < right, text) for i in range(n)])
            training = {"steps": 8, "best_step": 4, "dev_accuracy": 50.0, "seconds": 1.0, "padding": 1.1}
            facts = {"base": "sandbox-small", "parameters": 9, "trained_on": 30, "too_long": [], "training": training}
            write_json(place / "manifest.json", facts)
    return Path(run)


def prediction(i: int, right: bool, text: str) -> dict:
    """The prediction of one student on question i."""
    answer = str(i + 1 if right else 0)
    return {
        "id": f"q{i}",
        "question": f"What is {i} plus 1?",
        "prediction": answer,
        "answer": str(i + 1),
        "correct": right,
        "miss": "",
        "text": text.format(answer),
        "finished": True,
        "split": "test",
        "paper_correct": right,
    }
