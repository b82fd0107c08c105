// The tasks, as make_env gives them in Python: a start, an observation, small steps of the physics, and a reward for each action.

const clip = (x, limit) => Math.max(-limit, Math.min(limit, x));
const tenths = (x) => (Math.abs(x) < 0.05 ? 0 : x).toFixed(1);  // never -0.0

/** Pendulum-v1: a formula, so it needs no engine. The angle is 0 where the pendulum stands up. */
export class Pendulum {
  constructor(task) {
    Object.assign(this, { task, substeps: 1, timestep: 0.05 });
    this.reset();
  }

  reset() { [this.angle, this.speed] = this.task.start; }

  observe() { return [Math.cos(this.angle), Math.sin(this.angle), this.speed]; }

  /** An action is chosen: the reward is that of the state in which it is. */
  begin(action) {
    this.torque = clip(action[0], 2);
    const turn = 2 * Math.PI, off = ((this.angle + Math.PI) % turn + turn) % turn - Math.PI;
    this.reward = -(off ** 2 + 0.1 * this.speed ** 2 + 0.001 * this.torque ** 2);
  }

  substep() {
    this.speed = clip(this.speed + (1.5 * this.task.g * Math.sin(this.angle) + 3 * this.torque) * this.timestep, 8);
    this.angle += this.speed * this.timestep;
  }

  finish() { return { reward: this.reward, terminated: false }; }

  push(direction) { this.speed = clip(this.speed - 2 * direction, 8); }

  position() { return 0; }

  text() { return `angle ${(Math.atan2(Math.sin(this.angle), Math.cos(this.angle)) * 180 / Math.PI).toFixed(0)}°, ${tenths(this.speed)} rad/s`; }

  shapes() { return [{ x0: 0, z0: 0, x1: -Math.sin(this.angle), z1: Math.cos(this.angle), radius: 0.08, rgb: [0.8, 0.35, 0.3] }]; }
}

/** A flat robot of MuJoCo. The description says what is seen, what is paid, and where an episode ends. */
export class Robot {
  constructor(mujoco, xml, task) {
    this.model = mujoco.MjModel.from_xml_string(xml);
    this.data = new mujoco.MjData(this.model);
    Object.assign(this, { mujoco, task, substeps: task.substeps, timestep: task.timestep });
    this.reset();
  }

  reset() {
    this.mujoco.mj_resetData(this.model, this.data);
    this.data.qpos.set(this.task.start.qpos);
    this.data.qvel.set(this.task.start.qvel);
    this.mujoco.mj_forward(this.model, this.data);
    this.velocity = this.pushing = 0;
  }

  /** The velocity of the last step in front where the task has it, then positions and speeds of the joints. */
  observe() {
    const { velocity, skipped, clipped } = this.task.observation;
    const speeds = Array.from(this.data.qvel, (speed) => clip(speed, clipped ?? Infinity));
    return [...(velocity ? [this.velocity] : []), ...this.data.qpos.slice(skipped), ...speeds];
  }

  begin(action) {
    this.before = this.data.qpos[0];
    this.data.ctrl.set(action);
  }

  substep() {
    this.data.xfrc_applied[6 * this.task.push.body] = this.pushing > 0 ? this.force : 0;
    this.pushing -= this.timestep;
    this.mujoco.mj_step(this.model, this.data);
  }

  /** Whether all of the ranges hold; each is over a stretch of the state, positions before speeds. */
  healthy() {
    const state = [...this.data.qpos, ...this.data.qvel];
    const holds = ({ first, last, low, high }) => state.slice(first, last).every((x) => x > (low ?? -Infinity) && x < (high ?? Infinity));
    return this.task.healthy.every(holds);
  }

  finish(action) {
    this.velocity = (this.data.qpos[0] - this.before) / (this.substeps * this.timestep);
    const { forward, alive, effort } = this.task.reward, healthy = this.healthy();
    const squares = action.reduce((sum, x) => sum + x * x, 0);
    return { reward: forward * this.velocity + alive * healthy - effort * squares, terminated: this.task.ends && !healthy };
  }

  push(direction) { [this.force, this.pushing] = [direction * this.task.push.newton, 0.1]; }

  position() { return this.data.qpos[0]; }

  text() { return `at ${tenths(this.position())} m, ${tenths(this.data.qvel[0])} m/s`; }

  /** Every capsule as a thick line in the plane of the robot; the third column of its matrix is its axis. */
  shapes() {
    const { geom_type: type, geom_size: size, geom_rgba: rgba } = this.model, { geom_xpos: place, geom_xmat: matrix } = this.data;
    const capsule = (i) => {
      const x = place[3 * i], z = place[3 * i + 2], dx = matrix[9 * i + 2] * size[3 * i + 1], dz = matrix[9 * i + 8] * size[3 * i + 1];
      return { x0: x - dx, z0: z - dz, x1: x + dx, z1: z + dz, radius: size[3 * i], rgb: [...rgba.slice(4 * i, 4 * i + 3)] };
    };
    const CAPSULE = 3;
    return [...type.keys()].filter((i) => type[i] === CAPSULE).map(capsule);
  }
}
