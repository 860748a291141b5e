"""Tables of the report, from the document of ``study.json``; cells are text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lvseg.reproduction.ladder import LEAK_PAIR, MODIFIED, NETWORKS, PEERS

SPLITS = {
    "image-level": "by image (leaks)",
    "patient-shares": "by patient, same shares",
    "official": "by patient, official",
    "originals": "by patient, official",
}
PARTS = ("training", "validation", "test")
OVERLAPS = ("dice", "jaccard")
UNKNOWN = "-"
SCORES = tuple(f"{part} {name}" for part in PARTS for name in ("Dice", "Jaccard"))
Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a title, and a sentence or two below it."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: str


def tables(document: Document) -> tuple[Table, ...]:
    """The tables that the finished steps allow."""
    made = (
        _networks(document),
        _normalisations(document),
        _ladder(document),
        _leak(document),
        _peers(document),
        _budget(document),
    )
    return tuple(table for table in made if table.rows)


def _number(value: float | None, sign: str = "") -> str:
    return UNKNOWN if value is None else f"{value:{sign}.3f}"


def _interval(ends: Sequence[float | None], sign: str = "") -> str:
    if None in ends:
        return UNKNOWN
    return f"{_number(ends[0], sign)} to {_number(ends[1], sign)}"


def _scores(step: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(_number(step["scores"][part][name]["mean"]) for part in PARTS for name in OVERLAPS)


def _networks(document: Document) -> Table:
    standing = [
        step for step in document["steps"] if step["key"] == f"{step['split']}-{step['kind']}"
    ]
    rows = tuple((step["title"], SPLITS[step["split"]], *_scores(step)) for step in standing)
    return Table(
        "The paper's networks in the paper's setting",
        ("network", "split", *SCORES),
        rows,
        "Mean over pictures with a cavity, each on its own grid, after the last epoch. Split by "
        "image, the pictures of all three parts come from the same patients, augmented copies "
        "included; only the splits by patient say anything about a new patient.",
    )


def _normalisations(document: Document) -> Table:
    logs = {step["key"]: step["log"] for step in document["steps"]}
    rows = tuple(
        (
            NETWORKS[kind],
            _number(logs[f"official-{kind}"][-1].get("training_dice")),
            _number(found["running"]),
            _number(found["own"]),
            _number(found["difference"]["dice"], "+"),
            _interval(found["difference"]["dice_ci95"], "+"),
        )
        for kind, found in document["two_normalisations"].items()
    )
    return Table(
        "Why training and validation part: the same weights, normalised in two ways",
        (
            "network",
            "Dice while training",
            "validation Dice, running averages",
            "each picture's own",
            "difference",
            "95 % interval",
        ),
        rows,
        "Trained on batches of one picture, batch normalisation sees that picture's mean and "
        "variance; judged, it takes running averages over many. What comes back when the "
        "validation pictures are normalised by their own mean and variance, with the same weights, "
        "was lost to that difference and not to the patients being new. Split by patient; Dice "
        "while training is the mean over the last epoch, augmented copies included.",
    )


def _ladder(document: Document) -> Table:
    by_key = {step["key"]: step for step in document["steps"]}
    climbed = [step for step in document["steps"] if step["before"] is not None]
    climbed.sort(key=lambda step: step["split"] != "official")  # stable: the order they are run
    rows = []
    first = by_key.get(climbed[0]["before"]) if climbed else None
    if first is not None:
        rows.append(("the paper's setting: " + first["title"], *_scores(first), UNKNOWN, UNKNOWN))
    for step in climbed:
        gained = step["bought_on_validation"]
        bought = (UNKNOWN, UNKNOWN)
        if gained is not None:
            bought = (_number(gained["dice"], "+"), _interval(gained["dice_ci95"], "+"))
        rows.append((step["change"], *_scores(step), *bought))
    return Table(
        "One change at a time, each on top of the one before",
        ("change", *SCORES, "bought: validation Dice", "95 % interval"),
        tuple(rows),
        "What a change bought is the mean difference on the same pictures of the validation "
        "patients; the interval is bootstrapped by patient. Training scores are of what each step "
        "was trained on: with augmented copies up to the step to augmentation on the fly, the "
        "originals from there on. Every step was scored on the test patients once, when it was "
        "finished, and nothing was chosen by that score. A difference "
        "whose interval holds 0 is not shown to be one.",
    )


def _leak(document: Document) -> Table:
    leak, modified = document["leak"], NETWORKS[MODIFIED]
    official, shares = "by image, less by patient (official)", "by image, less by patient"
    rows = [(NETWORKS[kind], official, *_gap(found)) for kind, found in leak["by_network"].items()]
    words = f"{official}, each picture's own statistics"
    rows += [
        (NETWORKS[kind], words, *_gap(found)) for kind, found in leak["by_network_own"].items()
    ]
    batched = next(
        (step["title"] for step in document["steps"] if step["key"] in LEAK_PAIR.values()), ""
    )
    for name, title in (("same_shares", modified), ("batches", batched)):
        if leak[name] is not None:
            rows.append((title, f"{shares} (same shares)", *_gap(leak[name])))
    for key, found in leak["same_pictures"].items():
        which = "official" if key.startswith("official") else "same shares"
        words = f"same {found['pictures']} pictures, patient known less unknown ({which})"
        gap, interval = _number(found["gap"], "+"), _interval(found["gap_ci95"], "+")
        title = batched if key in LEAK_PAIR.values() else modified
        rows.append((title, words, UNKNOWN, UNKNOWN, gap, interval))
    return Table(
        "What the leak hides: the same network and budget on both kinds of split",
        ("network", "test Dice compared", "leaking", "honest", "gap", "95 % interval"),
        tuple(rows),
        "Split by image, rotated copies of one picture and neighbouring slices of one heart stand "
        "in training and test, so the test asks how well a network remembers. 'Same shares' splits "
        "the same pictures in the same proportions but deals whole patients, so that only the leak "
        "differs. 'Same pictures' compares two networks on pictures neither was trained with: one "
        "knew other pictures of these patients, the other did not and is scored once more for it. "
        "At batch size 1 the running averages of batch normalisation decide what is measured, on "
        "either split; 'own statistics' and 'batches' are the comparisons without that. Intervals "
        "are bootstrapped by patient. A gap near 0 means that the networks learned too little to "
        "remember anyone.",
    )


def _gap(found: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        _number(found["leaking"]),
        _number(found["honest"]),
        _number(found["gap"], "+"),
        _interval(found["gap_ci95"], "+"),
    )


def _peers(document: Document) -> Table:
    speed = document["images_per_second"]
    compared = [step for step in document["steps"] if step["key"] in speed]
    parts = ("validation", "test")
    rows = tuple(
        (
            PEERS[step["key"]],
            *(_number(step["scores"][part][name]["mean"]) for part in parts for name in OVERLAPS),
            _interval(step["scores"]["test"]["dice"]["ci95"]),
            f"{step['parameters']:,}",
            f"{speed[step['key']]:.0f}",
        )
        for step in compared
    )
    scores = (f"{part} {name}" for part in parts for name in ("Dice", "Jaccard"))
    where = "a GPU" if document["device"] == "cuda" else "one processor core's working time"
    return Table(
        "Peers: other networks in the setting of one rung",
        ("network", *scores, "95 % interval of test Dice", "parameters", "images a second"),
        rows,
        "All are trained like the rung 'a window around the heart': same pictures, patients, "
        "augmentation, loss, schedule and number of steps; only the network differs. MONAI's have "
        f"the blocks and the normalisation it gives them. Images a second: windows of the size the "
        f"network is trained on, forwards, in batches of 8, on {where}, all networks in turns.",
    )


def _budget(document: Document) -> Table:
    rows = tuple(
        (
            step["key"],
            SPLITS[step["split"]],
            f"{step['parameters']:,}",
            str(step["steps"]),
            f"{step['pictures_seen']:,}",
            f"{document['seconds'][step['key']]['wall'] / 60:.1f}",
        )
        for step in document["steps"]
    )
    header = ("step", "split", "parameters", "steps", "pictures shown", "minutes")
    words = "Minutes hold training and scoring"
    words += "." if document["device"] == "cuda" else ", with one thread, beside other steps."
    return Table("What each step cost", header, rows, words)


def budget_words(document: Document) -> str:
    """One sentence on how large this run of the ladder is, beside the paper's own size."""
    scale = document["scale"]
    words = (
        f"Scale '{scale['name']}': {scale['total']} pairs after augmentation, whole frames of "
        f"{scale['frame_px']} px, networks of width {scale['width']} and depth {scale['depth']}, "
        f"{scale['epochs']} epochs."
    )
    if scale["name"] != "paper":
        words += (
            " The paper itself has 3500 pairs, 256 px, width 64, depth 5 and 15 epochs: these are "
            "narrower networks, smaller images and fewer steps, and the figures are not its own."
        )
    return words
