"""Numbers that cite results/ are read back from their tables.

Of the page of results and the README every number is accounted for; of the notebooks, every number in a paragraph or a table of the text that names a
file of results/. A number is

- in a Markdown table below a link to a table of runs: its row says which line, its column which step, and the cell is compared there;
- or a `READINGS` entry: a piece of the text with a group for every number, and what the numbers are, computed from the tables;
- or `PLAIN`: a setting, a step, a version, or what no table holds, each with the reason it stands under.

Who changes a sentence changes its entry; the message of the test names the number and the sentence.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from pathlib import Path
from typing import Callable, Iterator, NamedTuple

import numpy as np
import pytest
from scipy.stats import t as student

from mage_edu.engine.diagnostics import ceiling
from mage_edu.evaluate import bootstrap_interval, difference_interval

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))
import curves  # noqa: E402

RESULTS = "docs/pages/results.md"
NUMBER = re.compile(r"(?<![\w.\-\N{MINUS SIGN}])[-\N{MINUS SIGN}]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?!\w|\.\d)")
HIDDEN = re.compile(
    r"```.*?```|^    \S.*?$|`[^`\n]*`|\]\([^)]*\)|<[^>]*>|\d+\.\d+\.\d+|\$[^$\n]*\$", re.DOTALL | re.MULTILINE
)


class Runs:
    """The returns of a table of runs: means over episodes, by algorithm, label, seed and step."""

    def __init__(self, path: str):
        self.path, self.found = path, {}
        for row in rows_of(path):
            line = (row["env"], row["algorithm"], row["label"])
            steps = self.found.setdefault(line, {}).setdefault(int(row["seed"]), {})
            steps.setdefault(int(row["step"]), []).append(float(row["return"]))

    def line(
        self, algorithm: str, label: str | None = None, env: str | None = None
    ) -> dict[int, dict[int, list[float]]]:
        """The seeds of the one line that has this algorithm, and this label and task where several have."""
        fits = lambda key: key[1] == algorithm and label in (None, key[2]) and env in (None, key[0])
        lines = [key for key in self.found if fits(key)]
        if len(lines) > 1:
            lines = [key for key in lines if key[2] == "default"]
        assert len(lines) == 1, f"{self.path}: {algorithm} {label or ''} {env or ''} are {len(lines)} lines"
        return self.found[lines[0]]

    def seeds(self, algorithm: str, **more: str) -> list[int]:
        return sorted(self.line(algorithm, **more))

    @functools.cache  # noqa: B019 (tables live as long as this module)
    def values(self, algorithm: str, step: int, **more: str) -> np.ndarray:
        """The return of every seed, in order, at a step."""
        line = self.line(algorithm, **more)
        return np.array([np.mean(line[seed][step]) for seed in sorted(line)])

    @functools.cache  # noqa: B019
    def bootstrapped(self, algorithm: str, step: int, **more: str) -> list[float]:
        return list(bootstrap_interval(self.values(algorithm, step, **more)))

    def mean_of(self, algorithm: str, seed: int, step: int, **more: str) -> float:
        """The return of one seed at a step."""
        return float(np.mean(self.line(algorithm, **more)[seed][step]))

    def mean(self, algorithm: str, step: int, **more: str) -> float:
        return float(self.values(algorithm, step, **more).mean())

    def paired(self, one: str, other: str, step: int) -> np.ndarray:
        """One minus the other, seed by seed, where both have the seed."""
        return differences(self.line(one), self.line(other), step)


def differences(
    first: dict[int, dict[int, list[float]]], second: dict[int, dict[int, list[float]]], step: int
) -> np.ndarray:
    """One line minus another at a step, seed by seed, where both have the seed."""
    return np.array([np.mean(first[s][step]) - np.mean(second[s][step]) for s in sorted(first.keys() & second.keys())])


def apart(ones: Runs, one: str, others: Runs, other: str, step: int) -> np.ndarray:
    """One line minus a line of another table, seed by seed, where both have the seed."""
    return differences(ones.line(one), others.line(other), step)


def twenty(other: str, step: int) -> np.ndarray:
    """`mage-even` minus another algorithm, with the cut, seed by seed: seeds 0 to 9, then 10 to 19."""
    first = apart(longer, "mage-even", short, other, step)
    return np.concatenate([first, ten_more.paired("mage-even", other, step)])


def with_the_fallen(other: str) -> np.ndarray:
    """The twenty pairs at 5,000 steps, with the run of seed 0 that fell in the place of the one that did not."""
    fell = growing.mean_of("mage-even", 0, 5_000, label=cut_after(100))
    found = twenty(other, 5_000)
    found[0] += fell - longer.mean_of("mage-even", 0, 5_000)
    return found


def as_it_is(algorithm: str) -> dict[int, dict[int, list[float]]]:
    """The runs with the cut and no other change that share their processor with those of the tables of settings."""
    fixed = {seed: steps for seed, steps in growing.line("mage-even", label=cut_after(100)).items() if seed >= 100}
    return ten_more.line(algorithm) | (fixed if algorithm == "mage-even" else {})


def minus_the_default(setting: str) -> np.ndarray:
    """What one change of a setting gains at 5,000 steps on the default with the same seed and on the same processor."""
    return differences(changed.line("mage-even", label=f"{cut_after(100)},{setting}"), as_it_is("mage-even"), 5_000)


def shuffled_minus(other: str, step: int) -> np.ndarray:
    """Slopes shuffled minus another line of seeds 10 to 19."""
    return differences(controls.line("mage-even", label="shuffled"), ten_more.line(other), step)


def diagnosed(column: str, algorithm: str, step: int) -> np.ndarray:
    """A number of the diagnoses of seeds 10 to 19, in their order."""
    rows = [
        row
        for row in rows_of("mixture/ten_more_seeds_diagnostics.csv")
        if (row["algorithm"], int(row["step"])) == (algorithm, step)
    ]
    return np.array([float(row[column]) for row in sorted(rows, key=lambda row: int(row["seed"]))])


def cut_after(steps: int) -> str:
    """The label of runs whose training episodes were cut."""
    return f"updates_per_step=8,train_max_steps={steps}"


GROWING = cut_after(100) + ",train_growth=0.1"


def grown(step: int) -> np.ndarray:
    """What the growing cut gains on the fixed one, seed by seed of 100 and up, of those that have run so far."""
    line = lambda label: growing.line("mage-even", label=label).items()
    first, second = (
        {seed: steps for seed, steps in line(label) if seed >= 100 and step in steps}
        for label in (GROWING, cut_after(100))
    )
    assert first.keys() == second.keys()
    return differences(first, second, step)


def fallen() -> list[float]:
    """The least and largest median pitch of the uncut runs on their head, and of those on their back."""
    pitches = [float(row["pitch_50"]) for row in postures if row["label"] == "updates_per_step=8"]
    head, back = [p for p in pitches if 20 < p < 120], [p for p in pitches if p >= 120]
    return [min(head), max(head), min(back), max(back)]


def with_interval(differences: np.ndarray, confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean and t-interval."""
    half = student.ppf(0.5 + confidence / 2, len(differences) - 1) * differences.std(ddof=1) / len(differences) ** 0.5
    return differences.mean(), differences.mean() - half, differences.mean() + half


def number_word(number: int) -> str:
    return "zero one two three four five six seven eight nine ten".split()[number]


def rows_of(path: str) -> list[dict[str, str]]:
    return curves.read_rows(ROOT / "results" / path)


cheetah, pole = Runs("halfcheetah/sweep.csv"), Runs("invertedpendulum/sweep.csv")
choosing, evidence = Runs("mixture/choosing.csv"), Runs("mixture/evidence.csv")
longer = Runs("mixture/short_episodes_10000.csv")
weight_tried = Runs("mixture/weight_choosing.csv")
growing, reacher, pusher = (Runs(f"mixture/{name}.csv") for name in ("growing_cut", "reacher", "pusher"))
ten_more = Runs("mixture/ten_more_seeds.csv")
unnormalized, hopper, one_update, sac = (
    Runs(f"{name}.csv") for name in ("settings/layer_norm", "mixture/hopper", "worth_it/one_update", "worth_it/sac")
)
slower = Runs("settings/slow_targets.csv")
ant, controls, changed = (Runs(f"{name}.csv") for name in ("mixture/ant", "controls/returns", "settings/halfcheetah"))
short, tried = Runs("mixture/short_episodes.csv"), Runs("mixture/short_episodes_choosing.csv")
poles, postures = Runs("mixture/invertedpendulum.csv"), rows_of("mixture/posture.csv")
third, family = Runs("state_slope/sweep.csv"), Runs("family/algorithms.csv")
slow = {row["quantity"]: float(row["value"]) for row in rows_of("mixture/slow_run.csv")}


def flickers() -> list[float]:
    """The one seed of td3 that stands, falls and stands at 3,000, 4,000 and 5,000 steps."""
    line = pole.line("td3")
    at = {seed: [float(np.mean(line[seed][step])) for step in (3_000, 4_000, 5_000)] for seed in line}
    (one,) = [values for values in at.values() if values[1] < 999]
    return one


def held(algorithm: str, label: str) -> list[int]:
    """How many seeds hold the pole for all 1,000 steps, at 3,000, 4,000 and 5,000 steps."""
    return [int((pole.values(algorithm, step, label=label) >= 1_000).sum()) for step in (3_000, 4_000, 5_000)]


def back(env: str, part: str, clip: str = "5") -> list[float]:
    """The error of the run's own model at the end on one part of the twins, seed by seed."""
    rows = [
        row
        for row in rows_of("hard_tasks/model.csv")
        if (row["env"], row["model"], row["clip"], row["step"], row["set"], row["part"])
        == (env, "of the run", clip, "3000", f"twins, {part}", "state")
    ]
    return [float(row["rmse"]) for row in sorted(rows, key=lambda row: int(row["seed"]))]


def on_the_back(seeds: str) -> list[int]:
    """How many of the replay's held-out transitions are on the back at the end, of Ant's runs with the cut."""
    rows = [
        row
        for row in rows_of("hard_tasks/model.csv")
        if (row["env"], row["model"], row["clip"], row["step"], row["set"], row["part"])
        == ("Ant-v5", "of the run", "5", "3000", "replay, upside down", "all")
    ]
    found = {row["seed"]: int(row["transitions"]) for row in rows}
    return [found.get(seed, 0) for seed in seeds]


def errors_of(env: str, clip: str, ran_with: str, seed: str, part: str = "state") -> list[float]:
    """Along a run the errors on the twins of the model with this cut; `ran_with` is the cut that the run itself had."""
    model = "of the run" if clip == ran_with else "trained again"
    key = ("env", "model", "clip", "seed", "set", "part")
    rows = [
        row
        for row in rows_of("hard_tasks/model.csv")
        if tuple(row[name] for name in key) == (env, model, clip, seed, "twins", part)
    ]
    return [float(row["rmse"]) for row in rows]


def learned_at(env: str, column: str, step: str) -> list[float]:
    """A column of known_and_learned/quality.csv at a step, seed by seed, of the runs that learned."""
    rows = [
        row
        for row in rows_of("known_and_learned/quality.csv")
        if (row["env"], row["reward"], row["step"]) == (env, "learned", step)
    ]
    return [float(row[column]) for row in rows]


def bench(size: str, part: str, version: str, precision: str, name: str = "median", table: str = "bench") -> float:
    """A number of a table of the bench."""
    rows = json.loads((ROOT / "results" / "speed" / f"{table}.json").read_text(encoding="utf-8"))["rows"]
    (row,) = [
        row
        for row in rows
        if (row["size"], row["part"], row["version"], row["precision"]) == (size, part, version, precision)
    ]
    return row[name]


def two_graphs() -> list[float]:
    """How many times as fast two graphs are: with the mixture at `tiny` and `laptop`, with `mage` at `paper`."""
    gain = {
        (row["size"], row["algorithm"] == "mage"): float(row["times_as_fast"])
        for row in rows_of("speed/graphs.csv")
        if row["compiled"] == "two graphs"
    }
    return [gain["tiny", False], gain["laptop", False], gain["paper", True]]


def entry(path: str, column: str, **where: object) -> float:
    """A number of the one row of a table that has these values."""
    (row,) = [row for row in rows_of(path) if all(row[name] == str(value) for name, value in where.items())]
    return float(row[column])


def won_back(size: str, name: str) -> float:
    """Updates after which compiling with an empty cache has paid, by a table of the bench; to the hundred."""
    eager, compiled = (bench(size, "update", version, "float32", table=name) for version in ("eager", "compiled"))
    return round(1e3 * entry("speed/compiling.csv", "seconds", size=size, cache="empty") / (eager - compiled), -2)


def per_second(widths: str, library: str) -> float:
    """Gradient steps a second of a library."""
    return entry("speed/peers.csv", "per_second", widths=widths, measure="gradient steps", library=library)


def step_ms(size: str, threads: int, at_once: int) -> float:
    """Milliseconds of a training step with so many threads, of so many runs at once."""
    return entry("speed/threads.csv", "milliseconds", size=size, threads=threads, runs_at_once=at_once)


def half_width(env: str, step: str) -> float:
    """Half the interval of the difference between two libraries' td3."""
    rows = [row for row in rows_of("sb3/returns.csv") if (row["env"], row["step"]) == (env, step)]
    ours, theirs = (
        [float(row["return"]) for row in rows if row["library"] == name] for name in ("mage_edu", "stable_baselines3")
    )
    return difference_interval(np.array(ours), np.array(theirs)).half_width


def over_all_checks() -> dict[str, np.ndarray]:
    """Of each algorithm of family/algorithms.csv the mean over all evaluations, seed by seed."""
    names = [key[1] for key in family.found]
    return {
        name: np.array([np.mean(list(steps.values())) for _, steps in sorted(family.line(name).items())])
        for name in names
    }


def pairs_apart() -> int:
    """How many pairs of algorithms have all seeds of one above all seeds of the other."""
    values = list(over_all_checks().values())
    return sum(
        one.min() > other.max() or one.max() < other.min() for k, one in enumerate(values) for other in values[:k]
    )


def distances() -> tuple[float, float, float]:
    """How far the three that fail are below td3 and mage, in tens, least and most; the largest difference between seeds of these five."""
    values = over_all_checks()
    low, high = ("gradient-only", "dyna-td3", "dyna-ddpg"), ("td3", "mage")
    found = [values[one].mean() - values[other].mean() for one in high for other in low]
    return round(min(found), -1), round(max(found), -1), max(np.ptp(values[name]) for name in (*low, *high))


def policy_cosine(algorithm: str) -> float:
    """The mean cosine of the policy gradient with the true one on the cheetah, over looks and seeds."""
    rows = rows_of("side_by_side/diagnostics.csv")
    return float(
        np.mean(
            [
                float(row["policy_gradient_cosine"])
                for row in rows
                if (row["env"], row["algorithm"]) == ("HalfCheetah-v5", algorithm)
            ]
        )
    )


def leads_up() -> tuple[int, int]:
    """For how many cheetahs the measured direction pays more, by more than two standard errors, and of how many."""
    rows = [row for row in rows_of("side_by_side/gains.csv") if row["env"] == "HalfCheetah-v5"]
    return sum(float(row["true_gain"]) > 2 * float(row["true_gain_stderr"]) for row in rows), len(rows)


def over_all_evaluations(label: str) -> float:
    """The mean of all evaluations of a line of simulator/sweep.csv on the pendulum."""
    return float(
        np.mean(
            [
                value
                for steps in Runs("simulator/sweep.csv").line("mage", label=label, env="Pendulum-v1").values()
                for value in steps.values()
            ]
        )
    )


class Reading(NamedTuple):
    """A piece of a page, a regular expression with a group for every number that is read back, and what they are."""

    page: str
    text: str
    numbers: Callable[[], object]


ONE = "updates_per_step=1,train_max_steps=100"


def eight_minus_one(name: str, then: int) -> np.ndarray:
    """What eight updates gain after 5,000 steps on one update after so many, where both have the seed."""
    eight, one = ten_more.line(name), one_update.line(name)
    at = lambda line, step: {seed: np.mean(steps[step]) for seed, steps in line.items()}
    return np.array([at(eight, 5_000)[seed] - value for seed, value in at(one, then).items()])


def milliseconds(*asked: tuple[str, int]) -> list[float]:
    """Medians over the rounds of results/worth_it/seconds.csv."""
    rows = rows_of("worth_it/seconds.csv")
    mine = lambda name, updates: [
        float(row["milliseconds"]) for row in rows if (row["algorithm"], int(row["updates"])) == (name, updates)
    ]
    return [float(np.median(mine(*one))) for one in asked]


BARE = cut_after(100) + ",critic_layer_norm=false"
SLOWER = BARE + ",polyak=0.01"


def slower_minus(step: int, seeds: range, algorithm: str = "mage-even", other: str = "mage-even") -> np.ndarray:
    """An algorithm without layer normalization and with slower targets, minus another as it is, on the same processor."""
    line = {seed: steps for seed, steps in slower.line(algorithm, label=SLOWER).items() if seed in seeds}
    return differences(line, as_it_is(other), step)


def both_slower() -> np.ndarray:
    """`mage-even` minus `dyna-half`, both without layer normalization and with slower targets."""
    return differences(slower.line("mage-even", label=SLOWER), slower.line("dyna-half", label=SLOWER), 5_000)


def slower_poles() -> list[float]:
    """Every evaluation from 2,000 steps on of the pole without layer normalization and with slower targets."""
    rows = [
        row
        for row in rows_of("settings/slow_targets.csv")
        if row["env"] == "InvertedPendulum-v5" and row["label"] == SLOWER.partition("100,")[2]
    ]
    return [float(row["return"]) for row in rows if int(row["step"]) >= 2_000]


def without_norm(step: int) -> np.ndarray:
    """What the default gains without layer normalization, with the seeds of 100 and up that ran on the same processor."""
    one, other = unnormalized.line("mage-even", label=BARE), growing.line("mage-even", label=cut_after(100))
    return differences({seed: one[seed] for seed in one if seed >= 100}, other, step)


def bare_poles() -> list[float]:
    """Seeds that hold the pole at 5,000 steps without layer normalization, then seeds that diverge, then at which steps."""
    rows = [row for row in rows_of("settings/layer_norm.csv") if row["env"] == "InvertedPendulum-v5"]
    hold = [float(row["seed"]) for row in rows if row["step"] == "5000" and float(row["return"]) == 1_000]
    broken = {float(row["seed"]): float(re.search(r"at step (\d+)", row["error"])[1]) for row in rows if row["error"]}
    return [*hold, *broken, *broken.values()]


READINGS = [
    Reading(RESULTS, r"and `mage` is ahead of it by\s+(\S+) on average after 10,000 steps \(paired: (\S+) to (\S+)\), on (\d) of (\d) seeds",
            lambda: (*with_interval(cheetah.paired("mage", "dyna-td3", 10_000)), (cheetah.paired("mage", "dyna-td3", 10_000) > 0).sum(), len(cheetah.seeds("mage")))),
    Reading(RESULTS, r"both, of `mage` by (\S+) \((\S+) to (\S+)\)\. Neither is settled by five pairs; at 5,000 steps `mage` minus `dyna-td3` is (\S+) \((\S+) to (\S+)\)\.",
            lambda: (*with_interval(cheetah.paired("td3", "mage", 10_000)), *with_interval(cheetah.paired("mage", "dyna-td3", 5_000)))),
    Reading(RESULTS, r"one seed of `td3` evaluates to\s+([\d,]+), (\d+) and ([\d,]+) at 3,000, 4,000 and 5,000 steps", flickers),
    Reading(RESULTS, r"An interval from ([\d,]+) to ([\d,]+) only says", lambda: bootstrap_interval(pole.values("mage", 5_000))),
    Reading(RESULTS, r"Paired by seed at 10,000 steps, `mage-half` minus `dyna-half` is (\S+), (\S+), (\S+) \(mean (\S+), 95 % t-interval (\S+) to (\S+)\)",
            lambda: (*choosing.paired("mage-half", "dyna-half", 10_000), *with_interval(choosing.paired("mage-half", "dyna-half", 10_000)))),
    Reading(RESULTS, r"`mage-half` minus `td3` is (\S+), (\S+), (\S+) \(mean (\S+), (\S+) to (\S+)\)\.",
            lambda: (*choosing.paired("mage-half", "td3", 10_000), *with_interval(choosing.paired("mage-half", "td3", 10_000)))),
    Reading(RESULTS, r"gains (\S+) \(standard error (\S+)\) on (\S+): this policy",
            lambda: (slow["climb_gain"], slow["climb_gain_stderr"], slow["discounted_return"])),
    Reading(RESULTS, r"mostly noise here, it gains (\S+), standard error (\S+)\.\)", lambda: (slow["true_gain"], slow["true_gain_stderr"])),
    Reading(RESULTS, r"agrees with itself\s+with a cosine of (\S+) only, so its cosine with the critic's \((\S+)\)",
            lambda: (slow["policy_gradient_self"], slow["policy_gradient_cosine"])),
    Reading(RESULTS, r"`mage-half` minus `td3` is (\S+) at 3,000 steps \(95 % t-interval (\S+) to (\S+)\), (\S+) at 5,000 \((\S+) to (\S+)\) and (\S+) at 10,000 \((\S+) to (\S+)\)",
            lambda: [number for step in (3_000, 5_000, 10_000) for number in with_interval(evidence.paired("mage-half", "td3", step))]),
    Reading(RESULTS, r"its lowest run ends at (\d+), that of the mixture at (\d+)\.",
            lambda: [evidence.values(name, 10_000).min() for name in ("td3", "mage-half")]),
    Reading(RESULTS, r"pairs: (\S+) at 3,000 steps \((\S+) to (\S+)\), (\S+) at 5,000 \((\S+) to (\S+)\), (\S+) at 10,000 \((\S+) to (\S+)\)",
            lambda: [number for step in (3_000, 5_000, 10_000) for number in with_interval(evidence.paired("mage-half", "dyna-half", step))]),
    Reading(RESULTS, r"`mage-half` went from (\d+) to (\d+) at 5,000 steps with 100, and to (\d+) with 200; on seed 101 from (\d+) to (\d+) with 200",
            lambda: (choosing.mean_of("mage-half", 102, 5_000), *(tried.mean_of("mage-half", 102, 5_000, label=cut_after(steps)) for steps in (100, 200)),
                     choosing.mean_of("mage-half", 101, 5_000), tried.mean_of("mage-half", 101, 5_000, label=cut_after(200)))),
    Reading(RESULTS, r"`mage-half` gains (\S+) at 3,000 steps \((\S+) to (\S+)\) and (\S+) at 5,000 \((\S+) to (\S+)\), `td3` (\S+) \((\S+) to (\S+)\) and (\S+) \((\S+) to (\S+)\)\.",
            lambda: [number for name in ("mage-half", "td3") for step in (3_000, 5_000) for number in with_interval(apart(short, name, evidence, name, step))]),
    Reading(RESULTS, r"`td3` with the cut: (\S+) at 3,000 \((\S+) to (\S+)\), (\S+) at 5,000 \((\S+) to (\S+)\), not decided\.",
            lambda: [number for step in (3_000, 5_000) for number in with_interval(short.paired("mage-half", "td3", step))]),
    Reading(RESULTS, r"With the cut, `mage-half` minus `dyna-half`, \w+ pairs: (\S+) at 3,000 \((\S+) to (\S+)\), (\S+) at 5,000 \((\S+) to (\S+)\)\.",
            lambda: [number for step in (3_000, 5_000) for number in with_interval(apart(short, "mage-half", short, "dyna-half", step))]),
    Reading(RESULTS, r"pairs: (\S+) at 8,000 steps \(95 % t-interval (\S+) to (\S+)\), (\S+) at 10,000 \((\S+) to (\S+)\), not decided\.",
            lambda: [number for step in (8_000, 10_000) for number in with_interval(longer.paired("mage-half", "td3", step))]),
    Reading(RESULTS, r"Growing minus fixed, seeds 100 to 105: (\S+) at 2,000 steps \(95 % t-interval (\S+) to (\S+)\), (\S+) at 3,000 \((\S+) to (\S+)\), (\S+) at 5,000 \((\S+) to (\S+)\); the three of them that ran on, 100 to 102, at 10,000: (\S+) \((\S+) to (\S+)\)\.",
            lambda: [number for step in (2_000, 3_000, 5_000, 10_000) for number in with_interval(grown(step))]),
    Reading(RESULTS, r"on the same processor .*?, seeds 100 to 102: (\S+) at 10,000 steps \((\S+) to (\S+)\), not decided", lambda: with_interval(without_norm(10_000))),
    Reading(RESULTS, r"which falls with the default there, ends at (\d+) in the place of (\d+)\.", lambda: (unnormalized.mean_of("mage-even", 0, 10_000, label=BARE), growing.mean_of("mage-even", 0, 10_000, label=cut_after(100)))),
    Reading(RESULTS, r"On the pole seeds (\d+), (\d+) and (\d+) hold it at 5,000 steps, and seeds (\d+) and (\d+) diverge, at steps (\d+) and (\d+):", lambda: bare_poles()),
    Reading(RESULTS, r"at equal steps, 5,000, `mage-even` gains (\S+) \((\S+) to (\S+)\), `td3` (\S+) \((\S+) to (\S+)\)\.", lambda: (*with_interval(eight_minus_one("mage-even", 5_000)), *with_interval(eight_minus_one("td3", 5_000)))),
    Reading(RESULTS, r"28 % of the updates: (\S+) \((\S+) to (\S+)\) for `mage-even`, (\S+) \((\S+) to (\S+)\) for `td3`", lambda: (*with_interval(eight_minus_one("mage-even", 10_000)), *with_interval(eight_minus_one("td3", 10_000)))),
    Reading(RESULTS, r"`dyna-half` at 10,000 steps is (\S+) \((\S+) to (\S+)\), minus `td3` (\S+) \((\S+) to (\S+)\): ahead with all three", lambda: (*with_interval(one_update.paired("mage-even", "dyna-half", 10_000)), *with_interval(one_update.paired("mage-even", "td3", 10_000)))),
    Reading(RESULTS, r"with one update `mage-even` ([\d.]+), `dyna-half` ([\d.]+), `mage` ([\d.]+), `td3` ([\d.]+); with eight ([\d.]+), ([\d.]+), ([\d.]+), ([\d.]+)\. So", lambda: milliseconds(*((name, updates) for updates in (1, 8) for name in ("mage-even", "dyna-half", "mage", "td3")))),
    Reading(RESULTS, r"So 9,000 steps with one update take `mage-even` (\d+) s, 4,000 with eight (\d+) s\.", lambda: [steps * one / 1_000 for steps, one in zip((9_000, 4_000), milliseconds(("mage-even", 1), ("mage-even", 8)))]),
    Reading(RESULTS, r"whole training episodes\) is at (\S+), (\S+) and (\S+) after 10,000 steps with the same", lambda: sac.values("sac", 10_000)),
    Reading(RESULTS, r"at ([\d.]+) ms a step, and ([\d.]+) ms with eight\.", lambda: milliseconds(("sac", 1), ("sac", 8))),
    Reading(RESULTS, r"Seed 0 ends at (\d+) after 10,000 steps with the fixed cut, at (\d+) with the growing one", lambda: [growing.mean_of("mage-even", 0, 10_000, label=label) for label in (cut_after(100), GROWING)]),
    Reading(RESULTS, r"had (\d+) at 4,000 steps and ended at (\d+), its ten", lambda: [growing.mean_of("mage-even", 0, step, label=cut_after(100)) for step in (4_000, 5_000)]),
    Reading("README.md", r"on another processor, ended at (\d+) after 5,000 steps", lambda: [growing.mean_of("mage-even", 0, 5_000, label=cut_after(100))]),
    Reading(RESULTS, r"The lowest run of `mage-half` ends at (\d+), that of `td3` at (\d+); but", lambda: [longer.values(name, 10_000).min() for name in ("mage-half", "td3")]),
    Reading(RESULTS, r"seeds, up to (\d+) against (\d+):", lambda: [longer.values(name, 10_000).max() for name in ("td3", "mage-half")]),
    Reading(RESULTS, r"`td3-slope` with seed (\d+) ended no higher than most of these, at (\d+)\.", lambda: [100, weight_tried.mean_of("td3-slope", 100, 10_000)]),
    Reading(RESULTS, r"With 1 in its place seed (\d+) of `mage-half` ended at (\d+), higher", lambda: [100, weight_tried.mean_of("mage-half", 100, 10_000)]),
    Reading(RESULTS, r"`mage-even` minus `mage-half`, \w+ pairs: (\S+) at 5,000 steps \((\S+) to (\S+)\), (\S+) at 10,000 \((\S+) to (\S+)\)\.",
            lambda: [number for step in (5_000, 10_000) for number in with_interval(longer.paired("mage-even", "mage-half", step))]),
    Reading(RESULTS, r"`mage-even` minus `td3`, \w+ pairs: (\S+) at 3,000 \((\S+) to (\S+)\), (\S+) at 5,000 \((\S+) to (\S+)\), (\S+) at 10,000 \((\S+) to (\S+)\)\. Its lowest run ends at (\d+)\.",
            lambda: [*(number for step in (3_000, 5_000, 10_000) for number in with_interval(longer.paired("mage-even", "td3", step))), longer.values("mage-even", 10_000).min()]),
    Reading(RESULTS, r"`mage-even` minus `dyna-half` of the table to 5,000 steps, \w+ pairs: (\S+) at 3,000 \((\S+) to (\S+)\), (\S+) at 5,000 \((\S+) to (\S+)\)\.",
            lambda: [number for step in (3_000, 5_000) for number in with_interval(apart(longer, "mage-even", short, "dyna-half", step))]),
    Reading(RESULTS, r"Minus the paper's `mage` with the cut \(the mixture and the weight differ\), \w+ pairs: (\S+) at 3,000 \((\S+) to (\S+)\), (\S+) at 5,000 \((\S+) to (\S+)\)\.",
            lambda: [number for step in (3_000, 5_000) for number in with_interval(apart(longer, "mage-even", short, "mage", step))]),
    Reading(RESULTS, r"seeds 4 to 9 of both alone: (\S+) at 3,000 \((\S+) to (\S+)\), (\S+) at 5,000 \((\S+) to (\S+)\)\. Not decided",
            lambda: [number for step in (3_000, 5_000) for number in with_interval(apart(longer, "mage-even", short, "mage", step)[4:])]),
    Reading(RESULTS, r"on different processors: (\S+) at 5,000 steps, ten pairs \((\S+) to (\S+)\)\. Not decided either", lambda: with_interval(short.paired("mage", "td3", 5_000))),
    Reading("README.md", r"The paper's own `mage` minus `td3` is (\S+) after (\S+) steps \((\S+) to (\S+), ten pairs,",
            lambda: [with_interval(short.paired("mage", "td3", 5_000))[0], 5_000, *with_interval(short.paired("mage", "td3", 5_000))[1:]]),
    Reading(RESULTS, r"These ten alone: `mage-even` minus `td3` is (\S+) at 3,000 steps \(95 % t-interval (\S+) to (\S+)\) and (\S+) at 5,000 \((\S+) to (\S+)\); `mage-even` minus `dyna-half` is (\S+) at 3,000 \((\S+) to (\S+)\) and (\S+) at 5,000 \((\S+) to (\S+)\)\.",
            lambda: [number for other in ("td3", "dyna-half") for step in (3_000, 5_000) for number in with_interval(ten_more.paired("mage-even", other, step))]),
    Reading(RESULTS, r"With seeds 0 to 9, (\d+) pairs: minus `td3` (\S+) at 3,000 \((\S+) to (\S+)\) and (\S+) at 5,000 \((\S+) to (\S+)\); minus `dyna-half` (\S+) at 3,000 \((\S+) to (\S+)\) and (\S+) at 5,000 \((\S+) to (\S+)\)\.",
            lambda: [len(twenty("td3", 5_000)), *(number for other in ("td3", "dyna-half") for step in (3_000, 5_000) for number in with_interval(twenty(other, step)))]),
    Reading(RESULTS, r"means over the ten seeds: (\S+), (\S+) and (\S+) at 2,500 steps for `mage-even`, `dyna-half` and `td3`, (\S+), (\S+) and (\S+) at 5,000, where the true one, measured twice, agrees with itself by (\S+), (\S+) and (\S+) only \(a perfect",
            lambda: [diagnosed(column, name, step).mean() for column, step in (("q_gradient_cosine", 2_500), ("q_gradient_cosine", 5_000), ("q_gradient_self", 5_000)) for name in ("mage-even", "dyna-half", "td3")]),
    Reading(RESULTS, r"`mage-even` minus `dyna-half` is (\S+) \((\S+) to (\S+)\)\. Moved along", lambda: with_interval(diagnosed("q_gradient_cosine", "mage-even", 5_000) - diagnosed("q_gradient_cosine", "dyna-half", 5_000))),
    Reading(RESULTS, r"a perfect critic would reach (\S+), (\S+) and (\d\.\d+)\)", lambda: [np.mean([ceiling(each) for each in diagnosed("q_gradient_self", name, 5_000)]) for name in ("mage-even", "dyna-half", "td3")]),
    Reading(RESULTS, r"its own gradient a policy gains (\S+), (\S+) and (\S+); `mage-even` minus `dyna-half` is (\S+) \((\S+) to (\S+)\)\. So",
            lambda: [*(diagnosed("climb_gain", name, 5_000).mean() for name in ("mage-even", "dyna-half", "td3")), *with_interval(diagnosed("climb_gain", "mage-even", 5_000) - diagnosed("climb_gain", "dyna-half", 5_000))]),
    Reading(RESULTS, r"intervals of (\S+) %, for three looks, are (\S+) to (\S+) for `td3` and (\S+) to (\S+) for `dyna-half`",
            lambda: [97.8, *(number for other in ("td3", "dyna-half") for number in with_interval(twenty(other, 5_000), 0.978)[1:])]),
    Reading(RESULTS, r"in the place of seed 0, (\S+) \((\S+) to (\S+)\) and (\S+) \((\S+) to (\S+)\)\.", lambda: [number for other in ("td3", "dyna-half") for number in with_interval(with_the_fallen(other))]),
    Reading(RESULTS, r"Before training both stood at (\S+), (\S+), (\S+): `td3`, whose settings", lambda: reacher.values("td3", 1_000)),
    Reading(RESULTS, r"Before training both stood at (\S+), (\S+), (\S+): at 5,000", lambda: pusher.values("td3", 1_000)),
    Reading(RESULTS, r"derivative is right by a cosine of (\S+) for both", lambda: [np.mean([diagnosed("jacobian_cosine", name, 5_000).mean() for name in ("mage-even", "dyna-half")])]),
    Reading(RESULTS, r"`mage-even` has (\d+) ± (\d+) with the seeds", lambda: [longer.mean("mage-even", 10_000), longer.values("mage-even", 10_000).std(ddof=1)]),
    Reading(RESULTS, r"Minus `mage-even` with its own slopes, ten pairs: (\S+) \((\S+) to (\S+)\) at 3,000 steps, (\S+) \((\S+) to (\S+)\) at 5,000; minus `dyna-half`, without any: (\S+) \((\S+) to (\S+)\) and (\S+) \((\S+) to (\S+)\)\.",
            lambda: [number for other in ("mage-even", "dyna-half") for step in (3_000, 5_000) for number in with_interval(shuffled_minus(other, step))]),
    Reading(RESULTS, r"`preactivation_weight` 0: (\S+) \((\S+) to (\S+)\); `critic_layer_norm` off: (\S+) \((\S+) to (\S+)\); `polyak` 0.005, the paper's, in the place of 0.05: (\S+) \((\S+) to (\S+)\)\.",
            lambda: [number for setting in ("preactivation_weight=0.0", "critic_layer_norm=false", "polyak=0.005") for number in with_interval(minus_the_default(setting))]),
    Reading(RESULTS, r"Nobody walks yet: before training both stood at (\S+), (\S+), (\S+); all", lambda: [np.mean([ant.mean_of(name, seed, 1_000) for name in ("mage-even", "td3")]) for seed in (0, 1, 2)]),
    Reading(RESULTS, r"end upright, the lowest at (\d+);", lambda: [short.values("mage-half", 5_000).min()]),
    Reading(RESULTS, r"a median pitch of (\d+) to (\d+) degrees\) or on their back \((\d+) to (\d+)\)", fallen),
    Reading(RESULTS, r"at 4,000 steps (\S+), (\S+), (\S+) and (\S+), (\S+), (\S+)\. Paired, the difference is (\S+) \(95 % t-interval (\S+) to (\S+)\)",
            lambda: (*third.values("mage", 4_000), *third.values("mage-sobolev", 4_000), *with_interval(third.paired("mage-sobolev", "mage", 4_000)))),
    Reading(RESULTS, r"on which it was chosen, (\S+) \((\S+) to (\S+)\), all six ahead; seeds 10 to 19, (\S+) \((\S+) to (\S+)\), nine of ten ahead\. \(Without layer normalization alone seeds 10 to 14 had been run before; seeds 15 to 19, five pairs: (\S+) \((\S+) to (\S+)\)\.\) Minus `td3` as it is, which nobody tuned: (\S+) \((\S+) to (\S+)\)\. At 3,000 steps seeds 10 to 19 are not: (\S+) \((\S+) to (\S+)\)\.",
            lambda: [number for found in (slower_minus(5_000, range(100, 106)), slower_minus(5_000, range(10, 20)), slower_minus(5_000, range(15, 20)), slower_minus(5_000, range(10, 20), other="td3"), slower_minus(3_000, range(10, 20))) for number in with_interval(found)]),
    Reading(RESULTS, r"After 10,000 steps seeds 100 to 102 end at (\S+), (\S+), (\S+), the default at (\S+), (\S+), (\S+)\. All", lambda: [runs.mean_of("mage-even", seed, 10_000, label=label) for runs, label in ((slower, SLOWER), (growing, cut_after(100))) for seed in (100, 101, 102)]),
    Reading(RESULTS, r"seed 102 of the cheetah has (\S+) at 5,000 steps, (\S+) at 6,000 and (\S+) at 7,000\.", lambda: [slower.mean_of("mage-even", 102, step, label=SLOWER) for step in (5_000, 6_000, 7_000)]),
    Reading(RESULTS, r"and ends at (\d+), ends at (\d+)\.", lambda: [growing.mean_of("mage-even", 0, 5_000, label=cut_after(100)), slower.mean_of("mage-even", 0, 5_000, label=SLOWER)]),
    Reading(RESULTS, r"is far below itself as it is, (\S+) \((\S+) to (\S+)\), ten pairs:", lambda: with_interval(slower_minus(5_000, range(10, 20), "td3", "td3"))),
    Reading(RESULTS, r"pairs, minus itself as it is: (\S+) \((\S+) to (\S+)\); `mage-even` minus `dyna-half`, both changed: (\S+) \((\S+) to (\S+)\)\. So", lambda: (*with_interval(slower_minus(5_000, range(10, 20), "dyna-half", "dyna-half")), *with_interval(both_slower()))),
    Reading("README.md", r"it ends (\S+) higher after 5,000 steps \((\S+) to (\S+), seeds 10 to 19\), which is ([\d,]+) above `td3` \((\S+) to (\S+)\), and", lambda: (*with_interval(slower_minus(5_000, range(10, 20))), *with_interval(slower_minus(5_000, range(10, 20), other="td3")))),
    Reading("README.md", r"steps \| `td3` \| (\S+) \| (\S+) to (\S+) \| 10 to 19 \|", lambda: with_interval(ten_more.paired("mage-even", "td3", 5_000))),
    Reading("README.md", r"not asked for slopes \| (\S+) \| (\S+) to (\S+) \| 10 to 19 \|", lambda: with_interval(ten_more.paired("mage-even", "dyna-half", 5_000))),
    Reading("README.md", r"the slopes of other samples \| (\S+) \| (\S+) to (\S+) \| 10 to 19 \|", lambda: with_interval(-shuffled_minus("mage-even", 5_000))),
    Reading("README.md", r"steps \| `td3` \| (\S+) \| (\S+) to (\S+) \| 0 to 9 \|", lambda: with_interval(longer.paired("mage-even", "td3", 10_000))),
    Reading("README.md", r"A step of `mage-even` takes (\d+) ms with its eight updates, (\d+) with", lambda: milliseconds(("mage-even", 8), ("mage-even", 1))),
    Reading("README.md", r"minus one after 10,000 differ by (\S+) \((\S+) to (\S+)\)\.", lambda: with_interval(eight_minus_one("mage-even", 10_000))),
    Reading("README.md", r"minus `dyna-half`, changed alike, (\S+) \((\S+) to (\S+), nine pairs;", lambda: with_interval(both_slower())),
    Reading("README.md", r"the picture's means are ([\d,]+) and ([\d,]+) after", lambda: [longer.mean(name, 10_000) for name in ("mage-even", "td3")]),
    Reading("nbs/course/01_robot.ipynb", r"its last evaluation was ([\d,]+)\)", lambda: [np.mean(choosing.line("mage-half")[100][10_000])]),
    Reading("nbs/course/17_evaluate.ipynb", r"One stood at ([\d,]+) steps and falls at ([\d,]+): policies flicker",
            lambda: [step for step, value in zip((3_000, 4_000), flickers()) if (value >= 1_000) == (step == 3_000)]),
    Reading("nbs/appendix/learning_curves.ipynb", r"their means are ([\d,]+) and ([\d,]+), and `mage` is ahead on (\d) of (\d) seeds",
            lambda: (cheetah.mean("mage", 10_000), cheetah.mean("dyna-td3", 10_000), (cheetah.paired("mage", "dyna-td3", 10_000) > 0).sum(), len(cheetah.seeds("td3")))),
    Reading("nbs/appendix/learning_curves.ipynb", r"\(paired by (\S+), (\S+) to (\S+): not settled\)", lambda: with_interval(cheetah.paired("mage", "dyna-td3", 10_000))),
    Reading("nbs/appendix/learning_curves.ipynb", r"\(Of `mage` by (\S+), (\S+) to (\S+): not settled either", lambda: with_interval(cheetah.paired("td3", "mage", 10_000))),
    Reading("nbs/appendix/learning_curves.ipynb", r"With either remedy or both (\d+) of (\d+) runs hold the pole at 5,000 steps, with neither (\d) of (\d)",
            lambda: [sum(held(name, label)[2] for name, label in (("mage", "imagined_noise=0.0"), ("dyna-td3", "default"), ("mage", "default"))), 15, held("dyna-td3", "imagined_noise=0.0")[2], 5]),
    Reading("nbs/appendix/learning_curves.ipynb", r"`td3` is ahead of both: ([\d,]+)\.", lambda: [cheetah.mean("td3", 10_000)]),
    Reading("nbs/appendix/learning_curves.ipynb", r"Without noise on imagined actions `mage` comes to ([\d,]+),", lambda: [cheetah.mean("mage", 10_000, label="imagined_noise=0.0")]),
    *(Reading("nbs/appendix/learning_curves.ipynb", rf"\| {name} \| (\d) \| (\d) \| (\d) \|", lambda algorithm=algorithm, label=label: held(algorithm, label))
      for name, algorithm, label in (("neither: `dyna-td3` without noise", "dyna-td3", "imagined_noise=0.0"), ("the slope: `mage` without noise", "mage", "imagined_noise=0.0"),
                                     ("other actions: `dyna-td3`", "dyna-td3", "default"), ("both: `mage`", "mage", "default"))),
    Reading("nbs/appendix/hard_tasks.ipynb", r"In the runs with seeds 0 and 1 at most one of (\d+) held-out transitions is on the back, in seed 2's (\d+);",
            lambda: (300, on_the_back("2")[0])),
    Reading("nbs/appendix/hard_tasks.ipynb", r"There the error ends at (\S+), (\S+) and (\S+), on the legs at (\S+), (\S+) and (\S+) \(",
            lambda: (*back("Ant-v5", "upside down"), *back("Ant-v5", "upright"))),
    Reading("nbs/appendix/hard_tasks.ipynb", r"it first climbs to (\S+), (\S+), (\S+) and (\S+), has nearly caught up",
            lambda: (max(errors_of("Humanoid-v5", "none", "none", "0")), *(max(errors_of("Humanoid-v5", "none", "5", seed)) for seed in "012"))),
    Reading("nbs/appendix/hard_tasks.ipynb", r"after (\S+) and (\S+) along the way", lambda: [min(errors_of("Ant-v5", "5", "5", seed)) for seed in "01"]),
    Reading("nbs/appendix/hard_tasks.ipynb", r"near 1 \(without: up to (\S+)\)",
            lambda: [max(float(row["rmse"]) for row in rows_of("hard_tasks/model.csv") if (row["part"], row["set"], row["clip"]) == ("contacts", "twins", "none"))]),
    Reading("nbs/appendix/known_and_learned.ipynb", r"cosines of (\S+), (\S+) and (\S+)\); its", lambda: learned_at("Pusher-v5", "reward_slope_cosine", "500")),
    Reading("nbs/appendix/known_and_learned.ipynb", r"its \$R\^2\$ reaches about (\S+) at 1,000 steps", lambda: [min(learned_at("Pusher-v5", "reward_r2", "1000"))]),
    Reading("nbs/appendix/known_and_learned.ipynb", r"Hopper's recall of (\S+) is two of three", lambda: [min(learned_at("Hopper-v5", "termination_recall", "2000"))]),
    *(Reading("docs/pages/classroom.md", rf"\| `{size}` \| {threads} \| (\S+) \| (\S+) \|",
              lambda size=size, threads=threads: [step_ms(size, threads, 1), step_ms(size, threads, 2)]) for size in ("tiny", "laptop") for threads in (1, 2)),
    Reading("docs/pages/classroom.md", r"a neighbour costs a run (\d+) % of its time at `tiny` and (\d+) % at `laptop`",
            lambda: [100 * step_ms(size, 1, 2) / step_ms(size, 1, 1) - 100 for size in ("tiny", "laptop")]),
    Reading("docs/pages/classroom.md", r"take (\S+) and (\S+) times as long as with one each", lambda: [step_ms(size, 2, 2) / step_ms(size, 1, 2) for size in ("tiny", "laptop")]),
    Reading("docs/pages/classroom.md", r"it takes (\d+) % of the time", lambda: [100 * step_ms("laptop", 2, 1) / step_ms("laptop", 1, 1)]),
    Reading("nbs/appendix/why_fast.ipynb", r"reaches (\d+) % of it in float32 and (\d+) % in bfloat16",
            lambda: [100 * bench("paper", "update", "compiled", precision, "fraction") for precision in ("float32", "bf16")]),
    Reading("nbs/appendix/why_fast.ipynb", r"a dynamics batch (\d+) % and (\d+) %, the update at `laptop` (\d+) % in float32",
            lambda: (*(100 * bench("paper", "dynamics batch", "compiled", precision, "fraction") for precision in ("float32", "bf16")), 100 * bench("laptop", "update", "compiled", "float32", "fraction"))),
    Reading("nbs/appendix/why_fast.ipynb", r"Here an update at `paper` reaches (\d+) % of its limit in float32 and (\d+) % in bfloat16, a dynamics batch (\d+) % and (\d+) %; the default at `laptop` (\d+) % on one thread",
            lambda: [100 * bench(*row, "fraction", table=table) for table, row in (
                *(("amx_bench", ("paper", part, "compiled", precision)) for part in ("update", "dynamics batch") for precision in ("float32", "bf16")),
                ("amx_bench_default", ("laptop", "update", "compiled", "float32")))]),
    Reading("nbs/appendix/why_fast.ipynb", r"TD3 makes (\S+) times Stable-Baselines3's gradient steps with 256 units and (\S+) times with 400 and 300, and is (\S+) and (\S+) times as fast end to end; SBX (\S+), (\S+), (\S+) and (\S+) times",
            lambda: [float(row["ratio"]) for library in ("mage_edu", "sbx") for measure in ("gradient steps", "environment steps")
                     for row in rows_of("speed/amx_peers.csv") if (row["library"], row["measure"]) == (library, measure)]),
    Reading("nbs/appendix/why_fast.ipynb", r"library are worth (\S+), the compiler (\S+) more, bfloat16 another (\S+) \((\S+) uncompiled\)",
            lambda: [one / other for one, other in ((bench("paper", "update", "plain", "float32"), bench("paper", "update", "eager", "float32")),
                                                    (bench("paper", "update", "eager", "float32"), bench("paper", "update", "compiled", "float32")),
                                                    (bench("paper", "update", "compiled", "float32"), bench("paper", "update", "compiled", "bf16")),
                                                    (bench("paper", "update", "eager", "float32"), bench("paper", "update", "eager", "bf16")))]),
    Reading("nbs/appendix/why_fast.ipynb", r"by the medians (\d+) % more of them a second than we with 256 units and (\d+) % more with 400 and 300",
            lambda: [100 * per_second(widths, "sbx") / per_second(widths, "mage_edu") - 100 for widths in ("256x256", "400x300")]),
    Reading("nbs/appendix/why_fast.ipynb", r"an update is (\S+) times as fast at `tiny`, (\S+) times at `laptop`, (\S+) times at `paper`", two_graphs),
    Reading("nbs/appendix/why_fast.ipynb", r"compiling is won back after some (\S+) and (\S+) updates", lambda: [won_back(size, "bench_default") for size in ("tiny", "laptop")]),
    Reading("nbs/appendix/why_fast.ipynb", r"at `paper` 16 members cost (\d+) % more than one",
            lambda: [100 * entry("speed/members.csv", "ratio_to_one", size="paper", members=16) - 100]),
    Reading("nbs/appendix/family.ipynb", r"here it does in (\d+)\.", lambda: [pairs_apart()]),
    Reading("nbs/appendix/family.ipynb", r"are (\d+) to (\d+) below `td3` and `mage`, where seeds differ by (\d+) at most", distances),
    Reading("nbs/course/19_who_is_right.ipynb", r"positive with all three seeds \((\S+)\), `mve-td3`'s negative with all three \((\S+)\)", lambda: map(policy_cosine, ("maac", "mve-td3"))),
    Reading("nbs/course/19_who_is_right.ipynb", r"leads up for (\d+) of (\d+) policies", leads_up),
    Reading("nbs/course/19_who_is_right.ipynb", r"over all evaluations is (\S+) against (\S+) with the learned", lambda: map(over_all_evaluations, ("model=simulator", "default"))),
    Reading("nbs/appendix/stable_baselines3.ipynb", r"On Pendulum it is (\d+) after 50,000 steps",
            lambda: [half_width("Pendulum-v1", "50000")]),
]  # fmt: skip

PLAIN = {  # numbers that are no result: the reason, and the pieces of text that they stand in
    RESULTS: [
        ("settings and steps of the runs with slower targets", r"\(for layer normalization also on seeds 100 to 105, whose partners", r"`polyak` is 0\.05 at `laptop`, ten times", r"Without layer normalization 0\.01 and 0\.005 were tried on", r"0\.01 was taken, and no other value",
         r"on the same processor, at 5,000 steps: seeds 100 to 105, on which it was chosen", r"all six ahead; seeds 10 to 19,", r"\(Without layer normalization alone seeds 10 to 14 had been run before; seeds 15 to 19, five", r"At 3,000 steps seeds 10 to 19 are not", r"After 10,000 steps seeds 100 to 102 end",
         r"stand at 1000 from 2,000 steps to 5,000", r"seed 102 of the cheetah has \S+ at 5,000 steps, \S+ at 6,000 and \S+ at 7,000", r"Seed 0, which falls with the default on this processor and ends", r"more seeds to 10,000 steps, other tasks\. `laptop`"),
        ("settings of the default", r"makes 8 updates a step, and cuts training episodes after 100 steps where", r"Seeds of 100 and up chose the share, the weight.*?Seeds 10 to 19 chose nothing", r"shows seeds 0 to 9 on HalfCheetah-v5", r"Mean of 10 evaluation episodes, which pay 1,000 at most"),
        ("settings", r"size `laptop` as it was \(4 updates a step, whole training episodes\), seeds 0 to 4;", r"each the mean of 10 episodes", r"on seeds of 100 and up", r"; 1,000 is the most that an episode can pay",
         r"with whole training episodes, 8 updates a step, seeds 100 to 102, mean of 10 evaluation episodes", r"\(means of 10 episodes\)", r"default 64 states",
         r"\(`state_slope_weight` 1\)", r"Fresh seeds: 0 to 9", r"size `tiny`, seeds 0 to 2", r"\(seed 100 only\)", r"`td3` with seed 101"),
        ("ten more seeds and when they were looked at", r"decide at 5,000 steps\)\.", r"slopes matter at 5,000 steps\. So seeds 10 to 19, which", r"settings to 5,000 steps, and a diagnosis at 2,500 and 5,000\.", r"at 3,000 steps \(95 % t-interval", r"With seeds 0 to 9, 20", r"So at 5,000 steps the default is ahead of `td3`, at 3,000 that",
         r"at 2,500 steps for `mage-even`", r"at 5,000, where the true one", r"for `dyna-half` at 5,000 steps\. With the run that fell \(seed 0 on the other processor\) in the place of seed 0", r"seven of the 20 end below 2,100", r"has not been run to 10,000 steps \(without", r"paired by seed, at 5,000 steps, `mage-even`", r"episodes have 100 steps\. Kept", r"At 5,000 steps every run of `mage-even` is nearer to 0 than every run of `td3`, at 10,000 no more"),
        ("seeds and settings of one update in the place of eight", r"seeds 10 to 12 of \[the ten", r"at equal steps, 5,000, `mage-even`", r"eight after 5,000 steps minus one after 10,000, which takes", r"28 % of the updates", r"`dyna-half` at 10,000 steps is", r"three rounds of 250 steps on one thread", r"So 9,000 steps with one", r"s, 4,000 with eight", r"two layers of 256, one", r"but for 1,000 random steps", r"\(seeds 0 to 9, on another processor\)\. At 5,000 steps seeds 100 to 102 are", r"after 10,000 steps with the same"),
        ("seeds and settings of the runs on Hopper-v5", r"## Hopper-v5\n", r"Size `laptop`, to 20,000 steps, seeds 0 and 1;", r"DHMBPO published 2101 at 20,000 steps"),
        ("seeds and settings of runs without layer normalization", r"on HalfCheetah-v5 to 10,000 steps, and on InvertedPendulum-v5", r"same processor .*?, seeds 100 to 102:", r"\d+ at 10,000 steps \(", r"hold it at 5,000 steps, and seeds", r"not decided; seed 0, which falls"),
        ("seeds and settings of controls and changes", r"run of seed 10 to the last digit", r"with the same seeds at 5,000 steps: `pre", r"in the place of 0\.05:", r"excludes 0\. The", r"with seeds 100 to 105\)\.",
         r"`dyna-half`, run to 5,000 steps, is there", r"Size `laptop`, to 10,000 steps; falling", r"below that: 10,000 steps are"),
        ("what others published", r"DHMBPO published 4138 ± 1550 at 10,000 steps with its own settings, and 4386 ± 2126 with"),
        ("steps", r"### To 10,000 steps", r"the first 5,000 steps of `mage-half`", r"on average after 10,000 steps", r"at 3,000, 4,000 and 5,000 steps", r"Paired by seed at 10,000 steps", r"at 3,000 steps \(", r"at 5,000 \(", r"at 10,000 \(",
         r"At 10,000 steps `td3` is ahead", r"Early it does; at 10,000 steps three", r"at 4,000 steps"),
        ("a weight and a share of it", r"`gradient_weight` is 5, as in the paper", r"With 1 in its place", r"with 5 and the cut this seed", r"`mage-half` with a weight of 1 is `mage-even`\. Seed 100 chose", r"Seeds 4 to 9 of `mage-even` ran on", r"as did seeds 4 to 9 of `dyna-half`; seeds 4 to 9 of both", r"At 3,000 steps it does, by this interval; at 5,000 it is not decided"),
        ("seeds and settings of the runs that fell", r"\(seeds 3 to 9 of `mage-half` and `td3`, all eight", r"`td3` with seed 6 is upright", r"`mage-half` with seeds 9 and 5, and `dyna-half` with seed 3",
         r"an episode lasts 1,000 steps: by step 5,000 a run", r"is cut after 100 steps as by", r"Evaluations keep their 1,000 steps\. On seed 102, which", r"With 200, seed 102 ended on its head all the same\. So 100\.", r"On fresh seeds, to 5,000 steps"),
        ("limits that the claims below hold against the table", r"The runs that end below 2,100", r"lies within 9 degrees of upright"),
        ("a confidence", r"95 % "),
        ("zero, in intervals that the readings have", r"Both intervals contain 0:"),
        ("roughly, where the slow seeds stay", r"near 1,400 for thousands of steps"),
        ("the length of a rollout, which diagnose has", r"the discounted return of 100 steps"),
        ("measured once on the agent of make train, its last returns apart kept in no table", r"An eleventh run shows what the cut hides.*?is another run"),
        ("a task and its settings", r"## Reacher-v5\n", r"Size `laptop`, seeds 0 to 2; a return", r"so nearer to 0 is better", r"An episode has 50 steps", r"At 10,000 steps every run of `mage-even` is nearer to 0"),
        ("seeds and settings of the cut that grows", r"is cut after 100 steps, or after a tenth", r"Seeds 100 to 105, with the cut fixed", r"Growing minus fixed, seeds 100 to 105", r"that ran on, 100 to 102, at 10,000", r"Seed 0 ends at \d+ after 10,000 steps"),
        ("tried once, kept in no table", r"A cut at a random step \(geometric, with a mean of 100\).*?\(-705 to 222\)"),
        ("measured once on the agents of the table, kept in no table", r"of ten seeds at 5,000 steps\. Seed 2", r"Seed 2 stood at 3,000 steps and falls from 4,000 on.*?A remedy has not been tried"),
        ("measured once, kept in no table", r"In one episode \(seed 0, return 1,536\).*?a twentieth of all steps"),
        ("evaluations of two agents of results/web, kept in no table", r"each with 10,000 steps of HalfCheetah-v5, size `laptop` as it was, seed 0\. Their last evaluations, the means of 10\s+episodes, were 2,231\.7 and 2,752\.1"),
        ("checked by make test-browser", r"returns over 1,000 steps from one start are within 1 % of Python's"),
        ("of the page", r"rounded to 16 bits", r"Lesson 01", r"\[Lesson 18\]"),
    ],
    "README.md": [
        ("steps and seeds", r"three runs with eight after 5,000 steps minus one after 10,000 differ", r"\| 5,000 steps \|", r"\| 10,000 steps \|", r"after 5,000 steps \(\S+ to \S+, seeds 10 to 19\), which is", r"the pole stands from 2,000 steps on with", r"`critic_layer_norm=False, polyak=0\.01` it ends", r"\| 10 to 19 \|", r"\| 0 to 9 \|", r"after 10,000 steps; the longest runs of the default have 10,000, on Hopper 20,000"),
        ("settings", r"\| 95 % interval \|", r"setting, 100,000 at size `paper`"),
        ("settings of the run of make train", r"after 5,000 steps: it runs well for some hundred steps, farther than its training episodes of 100 steps"),
        ("a conference and a licence", r"NeurIPS 2020", r"\(NeurIPS\), 2020", r"arXiv:2004\.14309", r"Towers et al\., 2024, arXiv:2407\.17032", r"IROS 2012", r"Apache License 2\.0"),
        ("a version", r"Python 3\.11"),
        ("a lesson", r"\[lesson 21\]"),
    ],
    "nbs/course/01_robot.ipynb": [
        ("settings of the picture", r"a picture every 0\.6 s", r"after 10,000 steps, eight minutes", r"whole training episodes, seed 100,"),
        ("a setting", r"Gaussian noise of 0\.1 on imagined"),
    ],
    "nbs/course/02_hundred_lines.ipynb": [("a step", r"after 5,000 steps")],
    "nbs/course/17_evaluate.ipynb": [("a setting", r"size `laptop` with 4 updates a step and whole")],
    "nbs/course/18_reality_and_imagination.ipynb": [("settings", r"mean of 10 episodes")],
    "nbs/appendix/hard_tasks.ipynb": [("seeds", r"with seeds 0 and 1 at most", r"in seed 2's")],
    "nbs/appendix/why_fast.ipynb": [("the sides of matrices", r"From sides of 256 on oneDNN is a little faster"), ("a setting", r"batch 256, two threads"), ("a step", r"to its first 1,000 steps")],
}  # fmt: skip


class Page(NamedTuple):
    """A page's text, and the same with everything that is no prose blanked, so that places are equal."""

    text: str
    prose: str


def blanked(text: str) -> str:
    return HIDDEN.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def read_page(name: str) -> Page:
    """A Markdown file, or the Markdown cells of a notebook."""
    text = (ROOT / name).read_text(encoding="utf-8")
    if name.endswith(".ipynb"):
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return Page(text, blanked(text))


def written(text: str) -> tuple[float, int]:
    """A number as it is written, and its digits behind the point."""
    plain = text.replace("\N{MINUS SIGN}", "-").replace(",", "").rstrip(".;:)")
    return float(plain), len(plain.partition(".")[2])


def says(text: str, value: float) -> bool:
    """Whether a written number is a value, rounded to the digits that are written."""
    number, digits = written(text)
    return abs(number - float(value)) <= 0.5 * 10.0**-digits + 1e-9 * abs(number)


def wrong_readings(readings: list[Reading]) -> list[str]:
    """Readings whose text is not on its page exactly once, or whose numbers are others than the tables say."""
    wrong = []
    for reading in readings:
        found = list(re.finditer(reading.text, read_page(reading.page).text))
        if len(found) != 1:
            wrong.append(f"{reading.page}: found {len(found)} times, expected once: {reading.text}")
            continue
        texts, values = found[0].groups(), list(reading.numbers())
        if len(texts) != len(values) or not all(map(says, texts, values)):
            wrong.append(
                f"{reading.page}: says {texts}, the table {[round(float(value), 3) for value in values]}: {found[0][0]}"
            )
    return wrong


def test_numbers_in_sentences_are_those_of_the_tables():
    assert wrong_readings(READINGS) == []


def test_what_is_said_in_words_holds_in_the_tables():
    """Orders and counts that the page of results and the README write out."""
    words = read_page(RESULTS).text + read_page("README.md").text
    last = {name: cheetah.mean(name, 10_000) for name in ("mage", "dyna-td3", "td3")}
    slow_ones = [int((choosing.values(name, 10_000) < 1_500).sum()) for name in ("td3", "dyna-half")]
    low = lambda label, limit: [
        (row["algorithm"], row["seed"])
        for row in postures
        if row["label"] == label and float(row["return"]) < limit and abs(float(row["pitch_50"])) < 9
    ]
    learned = [
        int((pole.values(name, 5_000, label=label) >= 1_000).sum())
        for name, label in (("dyna-td3", "imagined_noise=0.0"), ("dyna-td3", "default"), ("mage", "imagined_noise=0.0"))
    ]
    claims = {
        "`td3`, which learns from stored transitions and shares all other settings, is ahead of both": last["td3"] > last["mage"] > last["dyna-td3"],
        "two seeds of five learn; with either, all five do": learned == [2, 5, 5],
        "(`td3` on all three, `dyna-half` on two)": slow_ones == [3, 2],
        "`td3` is ahead with six of the ten seeds": (evidence.paired("td3", "mage-half", 10_000) > 0).sum() == 6 and len(evidence.seeds("td3")) == 10,
        "eight pairs:": len(evidence.paired("mage-half", "dyna-half", 10_000)) == 8,
        "Early it does": all(with_interval(evidence.paired("mage-half", "dyna-half", step))[1] > 0 for step in (3_000, 5_000)),
        "three of the eight seeds of `dyna-half` are ahead": (evidence.paired("dyna-half", "mage-half", 10_000) > 0).sum() == 3,
        "ten pairs: `mage-half` gains": all(len(apart(short, name, evidence, name, 5_000)) == 10 for name in ("mage-half", "td3")),
        f"`mage-half` minus `dyna-half`, {number_word(len(short.paired('mage-half', 'dyna-half', 5_000)))} pairs": True,
        "all but one: `td3` with seed 6 is upright": low("updates_per_step=8", 2_100) == [("td3", "6")],
        "The median of every other run lies within 9 degrees of upright": max(abs(float(row["pitch_50"])) for row in postures if row["label"] == "updates_per_step=8" and float(row["return"]) >= 2_100) < 9,
        "With 200, seed 102 ended on its head all the same": [float(row["pitch_50"]) > 40 for row in postures if (row["label"], row["seed"]) == (cut_after(200), "102")] == [True],
        "All ten runs of `mage-half` end upright": all(abs(float(row["pitch_50"])) < 9 for row in postures if row["label"] == cut_after(100) and row["algorithm"] == "mage-half"),
        f"but `td3` is ahead with {number_word((longer.paired('mage-half', 'td3', 10_000) < 0).sum())} of the {number_word(len(longer.paired('mage-half', 'td3', 10_000)))} seeds": True,
        f"`mage-even` minus `mage-half`, {number_word(len(longer.paired('mage-even', 'mage-half', 10_000)))} pairs": True,
        f"`mage-even` minus `td3`, {number_word(len(longer.paired('mage-even', 'td3', 10_000)))} pairs": True,
        f"of the table to 5,000 steps, {number_word(len(apart(longer, 'mage-even', short, 'dyna-half', 5_000)))} pairs": True,
        f"`mage-even` holds the pole with {number_word((poles.values('mage-even', 5_000, label=cut_after(0)) >= 1_000).sum())} of {number_word(len(poles.seeds('mage-even', label=cut_after(0))))} seeds": True,
        f"(the mixture and the weight differ), {number_word(len(apart(longer, 'mage-even', short, 'mage', 5_000)))} pairs": True,
        "two of `td3` and one of `dyna-half` (of four that were watched) end on the head": [
            (sum(float(row["pitch_50"]) > 40 for row in rows), len(rows)) for name in ("td3", "dyna-half") for rows in [[row for row in postures if row["label"] == cut_after(100) and row["algorithm"] == name]]
        ] == [(2, 10), (1, 4)],
        "without the cut it is the best of its three": choosing.values("mage-half", 10_000).argmax() == 0,
        "`td3`, whose settings nobody tuned, has gained next to nothing or lost": bool((reacher.values("td3", 10_000) < reacher.values("td3", 1_000) + 1.0).all()),
        "No interval excludes 0": all(np.prod(with_interval(minus_the_default(setting))[1:]) < 0 for setting in ("preactivation_weight=0.0", "critic_layer_norm=false", "polyak=0.005")),
        "all runs end below that": max(ant.values(name, 10_000).max() for name in ("mage-even", "td3")) < min(ant.values("td3", 1_000)),
        "on Hopper `td3` is ahead with one of two seeds, on Ant every run ends below the untrained policy, on Pusher it is the mixture that leads, not the slope": [
            int((hopper.paired("td3", "mage-even", 20_000) > 0).sum()), len(hopper.paired("td3", "mage-even", 20_000))] == [1, 2],
        "All five seeds of the pole stand at 1000 from 2,000 steps to 5,000": slower_poles() == [1_000.0] * 20,
        "all six ahead; seeds 10 to 19": bool((slower_minus(5_000, range(100, 106)) > 0).all()),
        "nine of ten ahead. (Without": int((slower_minus(5_000, range(10, 20)) > 0).sum()) == 9,
        f"`dyna-half` with both, {number_word(len(both_slower()))} pairs": True,
        "is not decided: minus `dyna-half`, changed alike": np.prod(with_interval(both_slower())[1:]) < 0 and len(both_slower()) == 9,
        "the pole stands from 2,000 steps on with all five seeds tried": slower_poles() == [1_000.0] * 20,
        "what leads on this task is the imagined half, and not the slope": pusher.values("dyna-half", 5_000).min() > pusher.values("td3", 5_000).max(),
        "repeats the default's run of seed 10 to the last digit": all(controls.mean_of("mage-even", 10, step, label="none") == ten_more.mean_of("mage-even", 10, step) for step in range(1_000, 6_000, 1_000)),
        "at 5,000 steps `td3` has lost": bool((pusher.values("td3", 5_000) < pusher.values("td3", 1_000)).all()),
        "seven of the 20 end below 2,100, none of the default's": (
            sum(int((runs.values("td3", 5_000) < 2_100).sum()) for runs in (longer, ten_more)), min(runs.values("mage-even", 5_000).min() for runs in (longer, ten_more)) > 2_100
        ) == (7, True),
        "Each of these five intervals contains zero": all(
            np.prod(with_interval(longer.paired("mage-even", name, step))[1:]) < 0 for name, steps in (("mage-half", (5_000, 10_000)), ("td3", (3_000, 5_000, 10_000))) for step in steps
        ),
        "At 3,000 steps it does, by this interval; at 5,000 it is not decided": [with_interval(apart(longer, "mage-even", short, "dyna-half", step))[1] > 0 for step in (3_000, 5_000)] == [True, False],
        "higher than any run of `mage-half` or `td3` above": weight_tried.mean_of("mage-half", 100, 10_000) > max(longer.values(name, 10_000).max() for name in ("mage-half", "td3")),
        "So at 5,000 steps the default is ahead of `td3`, at 3,000 that is not decided; and asked for the slope, this mixture does better than without, at both": [
            with_interval(twenty(other, step))[1] > 0 for other in ("td3", "dyna-half") for step in (3_000, 5_000)
        ] == [False, True, True, True],
        "The largest is that of the critic that is asked for its slope": diagnosed("q_gradient_cosine", "mage-even", 5_000).mean() > max(diagnosed("q_gradient_cosine", name, 5_000).mean() for name in ("dyna-half", "td3")),
        "At 5,000 steps every run of `mage-even` is nearer to 0 than every run of `td3`, at 10,000 no more": [pusher.values("mage-even", step).min() > pusher.values("td3", step).max() for step in (5_000, 10_000)] == [True, False],
        "At 10,000 steps every run of `mage-even` is nearer to 0 than every run of `td3`": reacher.values("mage-even", 10_000).min() > reacher.values("td3", 10_000).max(),
        "none of the twelve other runs fell": min(np.diff([np.mean(line[seed][step]) for step in (3_000, 4_000, 5_000)]).min() for line in growing.found.values() for seed in line if seed >= 100) > 0,
        "Both intervals contain 0": all(np.prod(with_interval(choosing.paired("mage-half", name, 10_000))[1:]) < 0 for name in ("dyna-half", "td3")),
    }  # fmt: skip
    assert [claim for claim in claims if claim not in " ".join(words.split())] == []
    assert [claim for claim, holds in claims.items() if not holds] == []


# The tables of the page of results: which table of runs each stands under, and what its rows are called there.
LINES = {"no noise on imagined actions": "imagined_noise=0.0", "no noise": "imagined_noise=0.0", "episodes cut": cut_after(100), "not cut": cut_after(0), "fixed cut": cut_after(100), "growing cut": GROWING, "slopes shuffled": "shuffled",
         "no penalty before the tanh": cut_after(100) + ",preactivation_weight=0.0", "slow targets": cut_after(100) + ",polyak=0.005", "the model's value wrong": "value", "the model's slope wrong": "slope", "no layer normalization": BARE, "one update a step": ONE, "slower targets, no normalization": SLOWER}  # fmt: skip
TABLES = {
    "halfcheetah/sweep.csv": cheetah,
    "invertedpendulum/sweep.csv": pole,
    "mixture/choosing.csv": choosing,
    "mixture/evidence.csv": evidence,
    "mixture/short_episodes.csv": short,
    "mixture/short_episodes_10000.csv": longer,
    "mixture/weight_choosing.csv": weight_tried,
    "mixture/growing_cut.csv": growing,
    "mixture/reacher.csv": reacher,
    "mixture/pusher.csv": pusher,
    "mixture/ant.csv": ant,
    "controls/returns.csv": controls,
    "settings/halfcheetah.csv": changed,
    "settings/layer_norm.csv": unnormalized,
    "settings/slow_targets.csv": slower,
    "mixture/hopper.csv": hopper,
    "worth_it/one_update.csv": one_update,
    "mixture/ten_more_seeds.csv": ten_more,
    "mixture/invertedpendulum.csv": poles,
}


class Cell(NamedTuple):
    """A cell of a Markdown table that holds numbers: where it is, how it reads, and what the table of runs says."""

    start: int
    text: str
    values: list[float]


def steps_in(text: str) -> list[int]:
    return [int(found.replace(",", "")) for found in re.findall(r"\b\d+,000\b", text)]


def cells_of(page: Page) -> Iterator[Cell]:
    """The cells of all Markdown tables that stand below a link to a table of runs."""
    for table in re.finditer(r"(?:^\|.*\n)+", page.text, re.MULTILINE):
        links = re.findall(r"\]\((?:\.\./)*results/([\w/]+\.csv)\)", page.text[: table.start()])
        runs = TABLES[links[-1]]
        head, _, *rows = table[0].splitlines(keepends=True)
        names = [name.strip() for name in head.strip().strip("|").split("|")]
        last = max(step for name in names for step in steps_in(name))
        start = table.start() + sum(map(len, table[0].splitlines(keepends=True)[:2]))
        for row in rows:
            place, parts = start + 1, row.strip("\n")[1:-1].split("|")
            algorithm, note = re.fullmatch(r"\s*`([\w-]+)`(?:, (.+?)| \((.+)\))?\s*", parts[0]).group(1, 2)
            label = LINES[note] if note else None
            for name, text in zip(names, parts, strict=True):
                steps = steps_in(name) or [last]
                at = lambda step: runs.values(algorithm, step, label=label)
                if not text.strip() or name in ("algorithm", "what it is"):
                    pass
                elif name == "seeds":
                    seeds = runs.seeds(algorithm, label=label)
                    yield Cell(place, text, [seeds[0], seeds[-1]] if " to " in text else seeds)
                elif name.startswith("mean at"):
                    yield Cell(place, text, [at(step).mean() for step in steps])
                elif "interval" in name:
                    yield Cell(place, text, runs.bootstrapped(algorithm, steps[0], label=label))
                elif "every seed" in name or len(NUMBER.findall(text)) > 1 or len(at(steps[0])) == 1:
                    yield Cell(place, text, list(at(steps[0])))
                else:
                    yield Cell(place, text, [at(steps[0]).mean()])
                place += len(text) + 1
            start += len(row)


def wrong_cells(page: Page) -> list[str]:
    """Cells that say something else than the table of runs."""
    found = [(cell, NUMBER.findall(cell.text)) for cell in cells_of(page)]
    return [
        f"{cell.text.strip()}: the table says {[round(float(value), 1) for value in cell.values]}"
        for cell, numbers in found
        if len(numbers) != len(cell.values) or not all(map(says, numbers, cell.values))
    ]


def test_the_tables_of_the_page_of_results_are_those_of_results():
    page = read_page(RESULTS)
    assert len(list(cells_of(page))) > 80
    assert wrong_cells(page) == []


def cites(page: str) -> list[tuple[int, int]]:
    """Where a page cites results/: all of the page of results and of the README, elsewhere the paragraphs and tables that name a file."""
    text = read_page(page).text
    if page in (RESULTS, "README.md"):
        return [(0, len(text))]
    paragraphs = re.finditer(r"(?:(?!\n\s*\n).)+", text, re.DOTALL)
    return [one.span() for one in paragraphs if re.search(r"results/(?!\.|[\w-]+/collect)\w", one[0])]


def unread(page: str) -> list[str]:
    """Numbers of citing passages that neither a table, nor a reading, nor a plain reason accounts for."""
    whole = read_page(page)
    covered = [
        one.span() for reading in READINGS if reading.page == page for one in re.finditer(reading.text, whole.text)
    ]
    covered += [
        one.span()
        for _, *texts in PLAIN.get(page, [])
        for text in texts
        for one in re.finditer(text, whole.text, re.DOTALL)
    ]
    if page == RESULTS:
        heads = re.finditer(r"^\| algorithm.*$", whole.text, re.MULTILINE)
        covered += [(cell.start, cell.start + len(cell.text)) for cell in cells_of(whole)] + [
            head.span() for head in heads
        ]
    left = []
    for start, end in cites(page):
        for number in NUMBER.finditer(whole.prose, start, end):
            if not any(first <= number.start() and number.end() <= last for first, last in covered):
                sentence = " ".join(whole.text[max(0, number.start() - 60) : number.end() + 40].split())
                left.append(f"{page}: {number[0]} in: {sentence}")
    return left


CITING = [RESULTS, "README.md"] + sorted(
    path.relative_to(ROOT).as_posix()
    for kind in ("docs/pages/*.md", "nbs/**/*.ipynb")
    for path in ROOT.glob(kind)
    if ".ipynb_checkpoints" not in path.parts
    and path.name not in ("results.md", "torture.md")  # torture.md is written from its tables
    and cites(path.relative_to(ROOT).as_posix())
)


@pytest.mark.parametrize("page", CITING)
def test_every_number_that_cites_results_is_read_back(page):
    assert unread(page) == []


def test_no_reason_is_left_over():
    pages = {name: read_page(name).text for name in PLAIN}
    texts = [(name, text) for name, reasons in PLAIN.items() for _, *texts in reasons for text in texts]
    assert [(name, text) for name, text in texts if not re.search(text, pages[name], re.DOTALL)] == []


@functools.cache
def what_results_should_say() -> list[tuple[str, list[float]]]:
    """The readings of the page of results, with their numbers."""
    return [(reading.text, list(reading.numbers())) for reading in READINGS if reading.page == RESULTS]


def caught(text: str) -> bool:
    """Whether the page of results with another text would be refused."""
    found = ((list(re.finditer(pattern, text)), numbers) for pattern, numbers in what_results_should_say())
    if not all(len(one) == 1 and all(map(says, one[0].groups(), numbers)) for one, numbers in found):
        return True
    try:
        return bool(wrong_cells(Page(text, blanked(text))))
    except (AssertionError, KeyError, AttributeError, ValueError):
        return True


def test_a_wrong_number_would_be_noticed():
    """Each number of the page of results that is read back, with another last digit: every one is noticed."""
    page = read_page(RESULTS)
    spans = [
        one.span(group)
        for reading in READINGS
        if reading.page == RESULTS
        for one in re.finditer(reading.text, page.text)
        for group in range(1, one.re.groups + 1)
    ]
    spans += [
        (cell.start + one.start(), cell.start + one.end())
        for cell in cells_of(page)
        for one in NUMBER.finditer(cell.text)
    ]
    assert len(spans) > 250 and not caught(page.text)
    missed = []
    for start, end in spans:
        place = max(k for k in range(start, end) if page.text[k].isdigit())
        digit = str((int(page.text[place]) + 3) % 10)
        if not caught(page.text[:place] + digit + page.text[place + 1 :]):
            missed.append(page.text[start - 30 : end])
    assert missed == []
