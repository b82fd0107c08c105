"""A course that is also a library: critics trained on their action-gradient, in a learned model of the environment.

    from mage_edu import MAGEAgent

    agent = MAGEAgent("HalfCheetah-v5", algorithm="mage-even", size="laptop", seed=0, out="runs/cheetah")
    agent.learn(total_timesteps=10_000, progress_bar=True)
    action, state = agent.predict(obs)

The notebooks in `nbs/` are the source of every module here. Of the modules this one alone is written by hand. It names the public face and
imports a name when it is first asked for, so that `import mage_edu` costs nothing and imports neither torch nor gymnasium.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {  # public name: the module that holds it
    "MAGEAgent": "agent", "Config": "config", "make_config": "config",
    "make_env": "envs", "reward_fn": "envs", "termination_fn": "envs",
    "CriticLoss": "updates", "CriticTarget": "updates", "Dynamics": "dynamics", "Critic": "critic", "ForwardCritic": "engine.build",  # what parts of one's own are made of
    "BareDynamics": "engine.build", "build_dynamics": "engine.build", "critic_loss": "updates",
    "evaluation_curve": "engine.storage", "paired_interval": "engine.sweep",  # to compare runs
}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value  # the next use finds it here
    return value


def __dir__() -> list[str]:
    """The public face, before and after its names have been imported."""
    return sorted({*globals(), *_HOME})
