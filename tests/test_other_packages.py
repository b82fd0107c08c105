"""Tasks and recordings of other packages, each tested where its package is installed: pip install 'shimmy[dm-control]' gymnasium-robotics highway-env 'minari[hdf5]'."""

from __future__ import annotations

import numpy as np
import pytest

from mage_edu import MAGEAgent, make_env
from mage_edu.engine.recorded import read_recorded, record

FEW = dict(
    size="tiny",
    warmup_steps=40,
    dynamics_interval=20,
    dynamics_batches=3,
    log_interval=20,
    eval_interval=50,
    eval_episodes=1,
    eval_max_steps=30,
    actor_width=8,
    critic_width=8,
    dynamics_width=8,
    learned_width=8,
)
OTHERS = {  # id: the length of its flattened observation
    "shimmy:dm_control/cartpole-balance-v0": 5,
    "shimmy:dm_control/reacher-easy-v0": 6,
    "gymnasium_robotics:FetchReachDense-v4": 16,
    "gymnasium_robotics:PointMaze_UMazeDense-v3": 8,
    "highway_env:parking-v0": 18,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("env_id", OTHERS)
def test_tasks_of_other_packages_train_and_resume(tmp_path, env_id, capsys):
    pytest.importorskip(env_id.split(":")[0])
    if "dm_control" in env_id:
        pytest.importorskip("dm_control")
    agent = MAGEAgent(env_id, out=tmp_path / "run", **FEW).learn(60)
    assert (
        agent.env.observation_space.shape == (OTHERS[env_id],)
        and "are learned from its transitions" in capsys.readouterr().out
    )
    again = MAGEAgent.load(tmp_path / "run")  # the package's name stands in the file, so it is imported
    again.learn(20, reset_num_timesteps=False)
    assert again.num_timesteps == 80 and np.isfinite(again.evaluate(1)).all()


@pytest.mark.filterwarnings("ignore")
def test_a_minari_dataset_replaces_the_warm_up(tmp_path, monkeypatch):
    minari = pytest.importorskip("minari")
    pytest.importorskip("h5py")
    from minari.data_collector.episode_buffer import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    env = make_env("Pendulum-v1")
    episodes, written = [], record(env, 400, seed=3)
    for number in range(2):
        rows = slice(200 * number, 200 * number + 200)
        obs = [*written["obs"][rows], written["next_obs"][rows][-1]]
        flags = [False] * 200
        episodes.append(
            EpisodeBuffer(
                id=number,
                seed=number,
                observations=obs,
                actions=list(written["action"][rows]),
                rewards=written["reward"][rows].tolist(),
                terminations=flags,
                truncations=[False] * 199 + [True],
                infos={},
            )
        )
    minari.create_dataset_from_buffers(
        "pendulum/random-v0",
        episodes,
        env="Pendulum-v1",
        algorithm_name="random",
        author="nobody",
        author_email="",
        code_permalink="",
        description="for a test",
    )
    arrays = read_recorded("minari:pendulum/random-v0", env)
    assert all(np.allclose(arrays[name], written[name]) for name in written)
    agent = MAGEAgent("Pendulum-v1", data="minari:pendulum/random-v0", **FEW).learn(5)
    assert agent.learner.recorded == 400 and agent.learner.updates == 5
    with pytest.raises(FileNotFoundError, match="minari download"):
        read_recorded("minari:nowhere/none-v0", env)


def test_without_minari_the_sentence_says_what_to_install(monkeypatch):
    import builtins

    real = builtins.__import__
    monkeypatch.setattr(
        builtins,
        "__import__",
        lambda name, *rest: (_ for _ in ()).throw(ImportError(name)) if name == "minari" else real(name, *rest),
    )
    with pytest.raises(ValueError, match=r"pip install 'mage_edu\[minari\]'"):
        read_recorded("minari:pendulum/random-v0", make_env("Pendulum-v1"))
